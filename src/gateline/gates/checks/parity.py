"""Parity: in production, features as served agree with their offline recomputation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateline.gates.inputs import GateInputs
from gateline.gates.model import CheckResult, Sense, Verdict
from gateline.gates.policy import PARITY
from gateline.gates.rules import counted
from gateline.kernel.errors import InvalidInput

_VERDICTS = {"ok": Verdict.PASS, "warn": Verdict.PASS, "alert": Verdict.FAIL}


def check_parity(inputs: GateInputs) -> list[CheckResult]:
    """Return what the newest daily parity run of the policy's endpoint says.

    An alert fails; a run without a verdict, one that is overdue, and none at all are inconclusive. The value is the worst feature's share
    of differing requests (smaller is better), the threshold its limit in the endpoint's parity plan.
    """
    facts = inputs.facts.get(PARITY)
    if facts is None:
        raise InvalidInput("nobody tells this gate how features are served")
    if "error" in facts:
        raise InvalidInput(str(facts["error"]))
    endpoint, run = facts["endpoint"], facts["run"]
    if not facts["declared"]:
        return [_open(f"the endpoint '{endpoint}' has no parity plan, so nobody compares its features", facts)]
    if facts["overdue"]:
        return [_open(f"the day of '{endpoint}' that begins at {facts['overdue']} should have been compared by now and was not", facts)]
    if run is None:
        return [_open(f"no day of '{endpoint}' has been compared yet", facts)]
    verdict = _VERDICTS.get(run["state"], Verdict.INCONCLUSIVE)
    worst = run["worst"]
    if verdict is Verdict.INCONCLUSIVE or worst is None:
        return [_open(f"the newest parity run {run['id']} has no verdict: {run['reason'].rstrip('.')}", facts)]
    sentence = (
        f"the worst feature of '{endpoint}', {worst['feature']}, differs from its offline recomputation ({worst['kind']}) in "
        f"{worst['share']:.2%} of {counted(run['compared'], 'request')}; required at most {worst['limit']:.2%} "
        f"({run['state']}, {run['start'][:10]} to {run['end'][:10]})"
    )
    return [
        CheckResult(
            name=PARITY, verdict=verdict, sentence=sentence, value=worst["share"], threshold=worst["limit"], sense=Sense.AT_MOST,
            n=run["compared"], details=dict(facts),
        )
    ]  # fmt: skip


def _open(sentence: str, facts: Mapping[str, Any]) -> CheckResult:
    return CheckResult(name=PARITY, verdict=Verdict.INCONCLUSIVE, sentence=sentence, details=dict(facts))
