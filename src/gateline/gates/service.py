"""Judging a model: the platform scores it itself, asks every check, and signs what they say."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from gateline.gates import rules, store
from gateline.gates.checks import CHECKS
from gateline.gates.forms import form_inputs, lay_out, manifest_mistakes, read_form
from gateline.gates.inputs import Check, Facts, Floats, GateInputs, Probe, Score
from gateline.gates.model import STATEMENT_TYPE, CheckResult, GateRun, ModelSubject, PolicyRecord, Verdict
from gateline.gates.policy import Policy
from gateline.kernel.canonical import digest
from gateline.kernel.errors import Conflict, GatelineError, InvalidInput, NotFound
from gateline.kernel.ids import new_id
from gateline.kernel.limits import PAGE_ROWS_MAX
from gateline.lineage import Lineage, Node

if TYPE_CHECKING:
    from gateline.data import ObjectStore
    from gateline.ledger import Ledger

_TROUBLE = (GatelineError, ValueError, TypeError, ArithmeticError, LookupError, OSError, RuntimeError, pl.exceptions.PolarsError)
"""What a check may raise on bad data. It becomes the verdict error, with the reason: never a pass, never silence."""


class Gates:
    """Judges models by policies and keeps the signed records.

    Callers may rely on: scores are computed here, from the model's files and the rows named by digest, never taken from a client; a
    policy that was first seen after somebody looked at results of the same model on the same rows is refused; a check that cannot be
    made is an error or inconclusive, never a pass; an equal request returns the earlier record.

    Args:
        ledger: Records and signs.
        objects: Holds the model's files and the Parquet files of rows.
        lineage: Learns what a gate run looked at.
        score: Scores rows by a form in a folder.
        probe: Times requests against a real worker that serves a form in a folder.
        checks: The checks by name; those Gateline ships when left out.
        facts: Check to what a higher domain contributes for it. They are part of the request: a run is equal only when they are.
    """

    def __init__(
        self,
        ledger: Ledger,
        objects: ObjectStore,
        lineage: Lineage,
        *,
        score: Score,
        probe: Probe,
        checks: Mapping[str, Check] = CHECKS,
        facts: Mapping[str, Facts] | None = None,
    ) -> None:
        self._ledger = ledger
        self._objects = objects
        self._lineage = lineage
        self._score = score
        self._probe = probe
        self._checks = dict(checks)
        self._facts = dict(facts or {})

    def record_policy(self, actor: str, policy: Policy) -> PolicyRecord:
        """Write a policy down, so that gate runs may use it; recorded again, it keeps its first time.

        Do this before training: a policy recorded after a look at results cannot judge the same model on the same rows.

        Raises:
            InvalidInput: its suite names checks that do not exist.
        """
        self._require_known(policy.suite)
        with self._ledger.transaction(actor) as tx:
            existing = store.policy(tx.session, policy.digest)
            if existing is not None:
                return existing
            row = store.PolicyRow(digest=policy.digest, document=policy.as_dict(), recorded_at=tx.now, recorded_by=actor)
            tx.session.add(row)
            tx.record("gate.policy.recorded", policy.digest, policy.as_dict())
            return store.to_policy(row)

    def policy(self, policy_digest: str) -> PolicyRecord:
        """Return a recorded policy; raises NotFound."""
        with self._ledger.records.read() as session:
            found = store.policy(session, policy_digest)
        if found is None:
            raise NotFound(f"No policy with digest {policy_digest} is recorded.", next_step="Record it: gateline gate policy FILE")
        return found

    def run(
        self,
        actor: str,
        *,
        subject: ModelSubject,
        frame: str,
        policy: Policy,
        champion: ModelSubject | None = None,
        suite: Sequence[str] | None = None,
        force: bool = False,
    ) -> GateRun:
        """Judge a model and return the signed record; an equal request returns the earlier record unless `force`.

        Args:
            actor: Who asks.
            subject: The model.
            frame: SHA-256 of a Parquet file in the object store: features, label, unit, time and slice columns of the holdout.
            policy: The thresholds; recorded before.
            champion: The version to compare with, as the registry knows it.
            suite: Checks to make; the policy's suite, plus `champion` when one is given, when left out.
            force: Whether to judge again what was judged already (latency is measured anew).

        Raises:
            InvalidInput: the request is wrong; all mistakes are named.
            NotFound: a file is not in the object store.
            IntegrityFailure: a file changed under its digest.
            Conflict: the policy is not recorded, or was recorded after a look at these results.
        """
        chosen = rules.chosen_suite(policy.suite, suite, champion=champion is not None)
        self._require_sound(subject, champion, frame, chosen)
        facts = {name: self._ask_facts(name, policy) for name in chosen if name in self._facts}
        request = _request_digest(subject, champion, frame, policy, chosen, facts)
        if not force and (earlier := self._earlier(request)) is not None:
            return earlier
        recorded = self._require_in_time(subject, frame, policy)
        started_at = self._ledger.clock.now()
        with self._inputs(subject, champion, frame, policy, facts) as inputs:
            results = [one for name in chosen for one in self._ask(name, inputs)]
        results += [_left_out(name) for name in rules.not_asked(policy.suite, chosen)]
        found = GateRun(
            id=new_id("gate"), verdict=rules.combine(one.verdict for one in results), results=tuple(results), subject=subject,
            subject_digest=subject.digest, frame=frame, policy_digest=policy.digest, policy_recorded_at=recorded.recorded_at,
            suite=chosen, champion=champion, request_digest=request, started_at=started_at, finished_at=started_at, created_by=actor,
        )  # fmt: skip
        return self._keep(actor, found, force=force)

    def get(self, gate_run_id: str) -> GateRun:
        """Return a gate run; raises NotFound."""
        with self._ledger.records.read() as session:
            row = session.get(store.GateRunRow, gate_run_id)
            if row is None:
                raise NotFound(f"There is no gate run '{gate_run_id}'.", next_step="List them: GET /api/v1/gate-runs")
            return store.to_run(row)

    def runs(self, *, subject_digest: str = "", limit: int = 100) -> list[GateRun]:
        """Return gate runs, newest first, optionally those of one model (digest of its files)."""
        with self._ledger.records.read() as session:
            return store.runs(session, subject_digest=subject_digest, limit=min(limit, PAGE_ROWS_MAX))

    def _keep(self, actor: str, run: GateRun, *, force: bool) -> GateRun:
        """Store the finished run, signed, with its lineage."""
        with self._ledger.transaction(actor) as tx:
            if not force and (earlier := store.by_request(tx.session, run.request_digest)) is not None:
                return earlier
            finished = replace(run, finished_at=tx.now)
            signed = replace(finished, envelope=self._ledger.sign(STATEMENT_TYPE, finished.statement()))
            tx.session.add(store.from_run(signed))
            tx.record(
                "gate.run.finished",
                signed.id,
                {
                    "verdict": signed.verdict.value, "results": {one.name: one.verdict.value for one in signed.results},
                    "subject_digest": signed.subject_digest, "frame": signed.frame, "policy_digest": signed.policy_digest,
                    "statement_digest": signed.statement_digest,
                },
            )  # fmt: skip
            tx.publish("gate.run.finished", {"gate_run": signed.id, "verdict": signed.verdict.value, "run": signed.subject.run_id})
            node = Node(kind="gate_run", id=signed.id, label=f"gate run: {signed.verdict.value}")
            self._lineage.link(tx, Node(kind="run", id=signed.subject.run_id, label=signed.subject.run_id), node, "judged_by")
            self._lineage.link(tx, Node(kind="frame", id=signed.frame, label="holdout rows"), node, "judged_on")
            return signed

    def _earlier(self, request: str) -> GateRun | None:
        with self._ledger.records.read() as session:
            return store.by_request(session, request)

    def _require_sound(self, subject: ModelSubject, champion: ModelSubject | None, frame: str, suite: tuple[str, ...]) -> None:
        """Refuse a request with mistakes, and files that are missing or changed."""
        mistakes = list(manifest_mistakes(subject.files))
        mistakes += [f"champion: {one}" for one in (manifest_mistakes(champion.files) if champion else ())]
        mistakes += [] if subject.run_id else ["the subject names no run"]
        mistakes += [] if suite else ["the suite is empty"]
        mistakes += ["the suite names a check twice"] if len(set(suite)) < len(suite) else []
        mistakes += ["the suite compares with a champion and none is given"] if rules.CHAMPION in suite and champion is None else []
        mistakes += ["a champion is given and the suite does not compare with it"] if champion and rules.CHAMPION not in suite else []
        if mistakes:
            raise InvalidInput(f"The gate run cannot start: {'; '.join(mistakes)}.", facts={"mistakes": mistakes})
        self._require_known(suite)
        for sha256 in (frame, subject.training_frame, *subject.files.values(), *(champion.files.values() if champion else ())):
            self._objects.verify(sha256)

    def _require_known(self, suite: Sequence[str]) -> None:
        unknown = [name for name in suite if name not in self._checks]
        if unknown:
            raise InvalidInput(f"There is no check {', '.join(map(repr, unknown))}.", next_step=f"Checks are: {', '.join(self._checks)}.")

    def _require_in_time(self, subject: ModelSubject, frame: str, policy: Policy) -> PolicyRecord:
        """Return the policy's record, or refuse a policy that is not older than the first look at these results."""
        with self._ledger.records.read() as session:
            recorded = store.policy(session, policy.digest)
            looked = store.first_look(session, subject.digest, frame)
        if recorded is None:
            raise Conflict(
                f"The policy {policy.digest[:12]} was not recorded before the gate run.",
                next_step="Record it first: gateline gate policy FILE, or POST /api/v1/gate-policies.",
                facts={"policy_digest": policy.digest},
            )
        if rules.policy_is_too_late(recorded.recorded_at, looked):
            raise Conflict(
                f"The policy {policy.digest[:12]} was recorded after a gate run had already looked at this model on these rows; "
                "thresholds are fixed before the results are seen.",
                next_step="Judge by the earlier policy, or use holdout rows that nobody has looked at.",
                facts={"policy_digest": policy.digest, "recorded_at": recorded.recorded_at, "first_look_at": looked},
            )
        return recorded

    @contextmanager
    def _inputs(
        self, subject: ModelSubject, champion: ModelSubject | None, frame: str, policy: Policy, facts: Mapping[str, Mapping[str, Any]]
    ) -> Generator[GateInputs]:
        """Lay the models out in a folder that is removed again, and read the rows."""
        with tempfile.TemporaryDirectory(prefix="gateline-gate-") as name:
            folder = Path(name)
            rows, training = self._read(frame, "holdout"), self._read(subject.training_frame, "training")
            served = lay_out(self._objects, subject.files, folder / "served")
            plain = lay_out(self._objects, subject.files, folder / "subject", identity=True)
            other = lay_out(self._objects, champion.files, folder / "champion", identity=True) if champion else None
            yield GateInputs(
                frame=rows, training=training, policy=policy, subject=subject, champion=champion,
                form_inputs=form_inputs(read_form(plain)),
                score_subject=_scorer(self._score, plain, rows),
                score_champion=_scorer(self._score, other, rows) if other else None,
                probe=lambda requests: self._probe(served, requests), facts=facts,
            )  # fmt: skip

    def _read(self, sha256: str, which: str) -> pl.DataFrame:
        try:
            return pl.read_parquet(self._objects.path(sha256))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InvalidInput(f"The {which} file {sha256} is no readable Parquet file: {error}.") from error

    def _ask_facts(self, name: str, policy: Policy) -> Mapping[str, Any]:
        """Return the facts of a check; why there are none is a fact too, which the check turns into its verdict."""
        try:
            return self._facts[name](policy)
        except _TROUBLE as error:
            return {"error": str(error).strip().rstrip(".") or type(error).__name__}

    def _ask(self, name: str, inputs: GateInputs) -> Sequence[CheckResult]:
        """Return what a check says; whatever it raises on bad data is its verdict."""
        try:
            found = self._checks[name](inputs)
        except _TROUBLE as error:
            reason = str(error).strip().rstrip(".") or type(error).__name__
            return [CheckResult(name=name, verdict=Verdict.ERROR, sentence=reason, details={"error": type(error).__name__})]
        if not found:
            return [CheckResult(name=name, verdict=Verdict.ERROR, sentence="the check returned no result")]
        return found


def _scorer(score: Score, folder: Path, rows: pl.DataFrame) -> Callable[[], Floats]:
    """Return a function that scores the rows when first asked."""

    @cache
    def scores() -> Floats:
        return score(folder, rows)

    return scores


def _left_out(name: str) -> CheckResult:
    sentence = f"the policy requires the check {name}, and this run did not make it"
    return CheckResult(name=name, verdict=Verdict.INCONCLUSIVE, sentence=sentence, details={"left_out": True})


def _request_digest(
    subject: ModelSubject, champion: ModelSubject | None, frame: str, policy: Policy, suite: tuple[str, ...],
    facts: Mapping[str, Mapping[str, Any]],
) -> str:  # fmt: skip
    request: dict[str, Any] = {
        "subject": subject.as_dict(), "champion": champion.as_dict() if champion else None, "frame": frame, "policy": policy.digest,
        "suite": list(suite),
    }  # fmt: skip
    if facts:
        request["facts"] = {name: dict(known) for name, known in facts.items()}
    return digest("gate-request/1", request)
