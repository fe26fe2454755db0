"""A policy can demand that features are served as they are computed."""

from __future__ import annotations

import pytest

from gateline.gates import Verdict, parse_policy
from gateline.gates.checks import check_parity
from gateline.kernel.errors import InvalidInput, NotFound

RUN = {
    "id": "risk/parity@x", "start": "2013-04-01T00:00:00.000000Z", "end": "2013-04-02T00:00:00.000000Z", "state": "ok", "reason": "Fine.",
    "compared": 1200, "feature_set": "order_risk@1", "worst": {"feature": "level", "kind": "mismatch", "share": 0.0, "limit": 0.01},
}  # fmt: skip
FACTS = {"endpoint": "risk", "declared": True, "overdue": "", "run": RUN}
SUITE = {"suite": ["schema", "parity"], "parity": {"endpoint": "risk"}}


def checked(inputs, **changed):
    from dataclasses import replace

    (result,) = check_parity(replace(inputs(), facts={"parity": {**FACTS, **changed}}))
    return result


@pytest.mark.parametrize(("state", "verdict"), [("ok", Verdict.PASS), ("warn", Verdict.PASS), ("alert", Verdict.FAIL)])
def test_the_newest_run_decides_and_the_sentence_quotes_both_numbers(inputs, state, verdict):
    worst = {"feature": "level", "kind": "mismatch", "share": 0.12, "limit": 0.01}
    result = checked(inputs, run={**RUN, "state": state, "worst": worst})
    assert (result.verdict, result.value, result.threshold, result.n) == (verdict, 0.12, 0.01, 1200)
    assert result.sentence == (
        "the worst feature of 'risk', level, differs from its offline recomputation (mismatch) in 12.00% of 1,200 requests; "
        f"required at most 1.00% ({state}, 2013-04-01 to 2013-04-02)"
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"declared": False}, "has no parity plan"),
        ({"run": None}, "no day of 'risk' has been compared yet"),
        ({"overdue": "2013-04-05T00:00:00.000000Z"}, "2013-04-05T00:00:00.000000Z should have been compared by now and was not"),
        ({"run": {**RUN, "state": "not_enough_data", "reason": "12 requests of 100."}}, "has no verdict: 12 requests of 100"),
        ({"run": {**RUN, "state": "something new"}}, "has no verdict"),
        ({"run": {**RUN, "worst": None}}, "has no verdict"),
    ],
)
def test_what_is_missing_is_inconclusive_and_never_a_pass(inputs, changed, words):
    result = checked(inputs, **changed)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert words in result.sentence


def test_a_gate_that_nobody_tells_of_parity_errs(world, policy, inputs):
    with pytest.raises(InvalidInput, match="nobody tells"):
        check_parity(inputs())
    demanding = parse_policy({"resamples": 500, **SUITE})
    world.gates.record_policy("owner", demanding)
    run = world.gates.run("owner", subject=world.subject(), frame=world.holdout, policy=demanding)
    assert (run.verdict, run.results[-1].sentence) == (Verdict.ERROR, "nobody tells this gate how features are served")


def test_a_gate_run_is_made_again_when_parity_has_changed_and_only_then(world):
    said = [FACTS, FACTS, {**FACTS, "run": {**RUN, "state": "alert"}}, None]
    asked = []

    def facts(policy):
        asked.append(policy.parity.endpoint)
        known = said[len(asked) - 1]
        if known is None:
            raise NotFound("There is no endpoint 'risk'.")
        return known

    gates = world.with_ports(facts={"parity": facts})
    policy = parse_policy({"resamples": 500, **SUITE})
    gates.record_policy("owner", policy)
    runs = [gates.run("owner", subject=world.subject(), frame=world.holdout, policy=policy) for _ in said]
    assert [run.results[-1].verdict for run in runs] == [Verdict.PASS, Verdict.PASS, Verdict.FAIL, Verdict.ERROR]
    assert runs[0].id == runs[1].id
    assert len({run.id for run in runs}) == 3
    assert runs[3].results[-1].sentence == "There is no endpoint 'risk'"
    assert asked == ["risk"] * 4


def test_policies_without_parity_keep_the_digest_they_had():
    policy = parse_policy({})
    assert "parity" not in policy.as_dict()
    assert parse_policy(policy.as_dict()) == policy
    demanding = parse_policy(SUITE)
    assert parse_policy(demanding.as_dict()) == demanding
    assert demanding.digest != policy.digest


def test_a_policy_that_demands_parity_names_an_endpoint():
    with pytest.raises(InvalidInput, match=r"gates.suite asks for parity, and gates.parity.endpoint names no endpoint"):
        parse_policy({"suite": ["parity"]})
