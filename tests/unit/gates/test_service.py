"""Gate runs: what is asked, stored, signed and refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from gateline.gates import GATE_RUN_PREDICATE, STATEMENT_TYPE, CheckResult, GateRun, Verdict, parse_policy, table
from gateline.gates.checks import CHECKS
from gateline.kernel.errors import Conflict, IntegrityFailure, InvalidInput, NotFound
from gateline.lineage import Node
from tests.unit.gates.conftest import make_rows, score_form


@pytest.fixture
def judged(world, policy):
    world.gates.record_policy("developer", policy)
    return world.gates.run("developer", subject=world.subject(), frame=world.holdout, policy=policy)


def test_a_sound_model_passes_every_check_and_the_record_is_signed(world, policy, judged):
    assert judged.verdict is Verdict.PASS
    assert [one.name for one in judged.results] == ["schema", "holdout", "slices:carrier", "latency"]
    statement = world.ledger.key.public.open(judged.envelope, STATEMENT_TYPE)
    assert statement["predicateType"] == GATE_RUN_PREDICATE
    assert statement["predicate"] == judged.content()
    assert {one["name"]: one["digest"]["sha256"] for one in statement["subject"]} == dict(judged.subject.files)
    assert judged.policy_digest == policy.digest


def test_the_record_reads_back_as_it_was(world, judged):
    assert world.gates.get(judged.id) == judged
    assert GateRun.from_dict(judged.as_dict()) == judged
    assert world.gates.runs(subject_digest=judged.subject_digest) == [judged]
    assert world.gates.runs(subject_digest="0" * 64) == []


def test_a_gate_run_leaves_a_ledger_entry_and_lineage(world, judged):
    [entry] = world.ledger.entries(kind="gate.run.finished")
    assert (entry.subject, entry.actor, entry.payload["verdict"]) == (judged.id, "developer", "pass")
    ancestors = {(node.kind, node.id) for node in world.lineage.ancestors(Node(kind="gate_run", id=judged.id)).nodes}
    assert {("run", "run-1"), ("frame", world.holdout)} <= ancestors


def test_an_equal_request_returns_the_earlier_record_unless_forced(world, policy, judged):
    request = {"subject": world.subject(), "frame": world.holdout, "policy": policy}
    assert world.gates.run("somebody", **request) == judged
    forced = world.gates.run("developer", **request, force=True)
    assert forced.id != judged.id
    assert forced.verdict is Verdict.PASS
    assert len(world.ledger.entries(kind="gate.run.finished")) == 2


def test_the_model_is_scored_with_its_own_columns_whatever_serving_maps_to_them(world, policy):
    world.gates.record_policy("developer", policy)
    run = world.gates.run("developer", subject=world.subject(scale=-5.0), frame=world.holdout, policy=policy)
    assert run.verdict is Verdict.PASS


def test_the_probe_gets_the_form_as_it_will_be_served(world, policy):
    seen = []

    def probe(folder, rows):
        seen.append((folder / "serving.json").read_bytes())
        return np.full(rows.height, 1.0)

    world.gates.record_policy("developer", policy)
    subject = world.subject(scale=3.0)
    world.with_ports(probe=probe).run("developer", subject=subject, frame=world.holdout, policy=policy)
    assert seen == [world.objects.path(subject.files["serving.json"]).read_bytes()]


def test_a_policy_has_to_be_recorded_first(world, policy):
    with pytest.raises(Conflict, match="not recorded before"):
        world.gates.run("developer", subject=world.subject(), frame=world.holdout, policy=policy)


def test_recording_a_policy_again_keeps_the_first_time(world, policy, clock):
    first = world.gates.record_policy("developer", policy)
    clock.advance(60)
    assert world.gates.record_policy("validator", policy) == first
    assert world.gates.policy(policy.digest) == first
    with pytest.raises(NotFound):
        world.gates.policy("0" * 64)


def test_a_threshold_edited_after_a_look_is_refused(world, policy, judged, clock):
    clock.advance(60)
    edited = dataclasses.replace(policy, holdout=dataclasses.replace(policy.holdout, improvement_min=0.0))
    world.gates.record_policy("developer", edited)
    with pytest.raises(Conflict, match="after a gate run had already looked"):
        world.gates.run("developer", subject=world.subject(), frame=world.holdout, policy=edited)
    fresh = world.put_rows(make_rows(100, 28))
    assert world.gates.run("developer", subject=world.subject(), frame=fresh, policy=edited).verdict is Verdict.PASS


def test_a_policy_may_be_corrected_after_a_run_that_showed_nothing(world, policy, clock):
    wrong = dataclasses.replace(policy, label="outcome")
    world.gates.record_policy("developer", wrong)
    run = world.gates.run("developer", subject=world.subject(), frame=world.holdout, policy=wrong)
    assert run.verdict is Verdict.ERROR
    assert "no label column 'outcome'" in run.results[1].sentence
    clock.advance(60)
    world.gates.record_policy("developer", policy)
    assert world.gates.run("developer", subject=world.subject(), frame=world.holdout, policy=policy).verdict is Verdict.PASS


def test_a_required_check_that_is_left_out_keeps_the_gate_shut(world, policy):
    world.gates.record_policy("developer", policy)
    run = world.gates.run("developer", subject=world.subject(), frame=world.holdout, policy=policy, suite=("schema", "holdout"))
    assert run.verdict is Verdict.INCONCLUSIVE
    assert [one.name for one in run.results if one.details.get("left_out")] == ["slices", "latency"]


def raising(error):
    def check(inputs):
        raise error

    return check


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad rows"), KeyError("x"), ZeroDivisionError("no rows"), pl.exceptions.ComputeError("odd"), OSError("gone"),
        TypeError("no"),
    ],
)  # fmt: skip
def test_a_check_that_raises_is_an_error_with_its_reason_and_the_others_still_run(world, policy, error):
    gates = world.with_ports(checks={**CHECKS, "holdout": raising(error)})
    gates.record_policy("developer", policy)
    run = gates.run("developer", subject=world.subject(), frame=world.holdout, policy=policy)
    assert run.verdict is Verdict.ERROR
    assert [one.verdict for one in run.results] == ["pass", "error", "pass", "pass"]
    assert run.results[1].sentence.strip("'") in str(error)


def test_a_check_that_says_nothing_is_an_error(world, policy):
    gates = world.with_ports(checks={**CHECKS, "holdout": lambda inputs: []})
    gates.record_policy("developer", policy)
    assert gates.run("developer", subject=world.subject(), frame=world.holdout, policy=policy).verdict is Verdict.ERROR


def test_a_project_adds_a_check_of_its_own(world, policy):
    def check_rows(inputs):
        return [CheckResult(name="rows", verdict=Verdict.PASS, sentence="enough rows", n=inputs.frame.height)]

    gates = world.with_ports(checks={**CHECKS, "rows": check_rows})
    mine = dataclasses.replace(policy, suite=("rows",))
    gates.record_policy("developer", mine)
    assert gates.run("developer", subject=world.subject(), frame=world.holdout, policy=mine).verdict is Verdict.PASS


def test_a_model_that_cannot_be_scored_is_an_error_never_a_pass(world, policy):
    def broken(folder, rows):
        raise ValueError("the model file is damaged")

    gates = world.with_ports(score=broken)
    gates.record_policy("developer", policy)
    run = gates.run("developer", subject=world.subject(), frame=world.holdout, policy=policy)
    assert run.verdict is Verdict.ERROR
    assert [one.verdict for one in run.results] == ["pass", "error", "error", "pass"]


def test_the_champion_is_compared_when_one_is_given(world, policy):
    world.gates.record_policy("developer", policy)
    champion = world.subject(version="m@1", weight=0.1)
    run = world.gates.run("developer", subject=world.subject(), frame=world.holdout, policy=policy, champion=champion)
    assert run.suite[-1] == "champion"
    assert run.verdict is Verdict.PASS
    worse = world.gates.run("developer", subject=champion, frame=world.holdout, policy=policy, champion=world.subject(version="m@2"))
    assert worse.verdict is Verdict.FAIL


def test_the_model_is_scored_once_for_all_checks(world, policy):
    calls = []

    def counting(folder, rows):
        calls.append(folder.name)
        return score_form(folder, rows)

    gates = world.with_ports(score=counting)
    gates.record_policy("developer", policy)
    gates.run("developer", subject=world.subject(), frame=world.holdout, policy=policy, champion=world.subject(version="m@1", weight=0.1))
    assert sorted(calls) == ["champion", "subject"]


def test_mistakes_in_a_request_are_all_named(world, policy):
    world.gates.record_policy("developer", policy)
    subject = dataclasses.replace(world.subject(), run_id="", files={"../model.txt": world.holdout})
    with pytest.raises(InvalidInput) as caught:
        world.gates.run("developer", subject=subject, frame=world.holdout, policy=policy, suite=("champion",))
    for words in ("no serving.json", "leaves the folder", "names no run", "none is given"):
        assert words in str(caught.value)


@pytest.mark.parametrize("suite", [(), ("holdout", "holdout"), ("magic",)])
def test_an_empty_doubled_or_unknown_suite_is_refused(world, policy, suite):
    world.gates.record_policy("developer", policy)
    with pytest.raises(InvalidInput):
        world.gates.run("developer", subject=world.subject(), frame=world.holdout, policy=policy, suite=suite)


def test_a_champion_that_is_not_compared_is_refused(world, policy):
    with pytest.raises(InvalidInput, match="does not compare"):
        champion = world.subject(version="m@1")
        world.gates.run("developer", subject=world.subject(), frame=world.holdout, policy=policy, suite=("schema",), champion=champion)


def test_files_that_are_missing_or_changed_are_refused(world, policy):
    world.gates.record_policy("developer", policy)
    with pytest.raises(NotFound):
        world.gates.run("developer", subject=world.subject(), frame="0" * 64, policy=policy)
    subject = world.subject()
    path = world.objects.path(subject.files["model.txt"])
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(IntegrityFailure, match="changed under its digest"):
        world.gates.run("developer", subject=subject, frame=world.holdout, policy=policy)


def test_a_frame_that_is_no_parquet_file_is_refused(world, policy):
    world.gates.record_policy("developer", policy)
    text = world.objects.put_bytes(b"not parquet").sha256
    with pytest.raises(InvalidInput, match="no readable Parquet"):
        world.gates.run("developer", subject=world.subject(), frame=text, policy=policy)


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"inputs": [1]}', b'{"inputs": {"a": 1}}'])
def test_a_malformed_form_is_refused(world, policy, content):
    world.gates.record_policy("developer", policy)
    subject = world.subject()
    files = {**subject.files, "serving.json": world.objects.put_bytes(content).sha256}
    with pytest.raises(InvalidInput, match=r"serving\.json"):
        world.gates.run("developer", subject=dataclasses.replace(subject, files=files), frame=world.holdout, policy=policy)


def test_nothing_is_left_behind_in_the_temporary_folder(world, policy, judged, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    world.gates.run("developer", subject=world.subject(), frame=world.holdout, policy=policy, force=True)
    assert list(tmp_path.glob("gateline-gate-*")) == []


def test_an_unknown_gate_run_is_not_found(world):
    with pytest.raises(NotFound):
        world.gates.get("gate_x")


def test_a_policy_with_unknown_checks_is_refused(world):
    with pytest.raises(InvalidInput, match="'magic'"):
        world.gates.record_policy("developer", parse_policy({"suite": ["magic"]}))


def test_the_table_shows_every_number_and_sentence(judged):
    text = table(judged)
    for one in judged.results:
        assert one.name in text
        assert one.sentence.split(";", maxsplit=1)[0][:60] in text
    assert "PASS: model" in text
    assert "at least 0.01" in text
