"""Freezing runs into records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import sha256_bytes
from gateline.kernel.errors import Conflict, IntegrityFailure, NotFound
from gateline.kernel.run_names import ENVIRONMENT_FILE, FIT_DIGEST_TAG, FIT_TAG, NOTE_TAG
from gateline.lineage import Node
from gateline.tracking import rules
from gateline.tracking.comparison import checked_runs, compare
from gateline.tracking.model import RunFacts, RunSnapshot, run_digest, snapshot_from, snapshot_of
from gateline.tracking.store import FROZEN, RunSnapshotRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateline.kernel.records import Records
    from gateline.ledger import Ledger
    from gateline.lineage import Lineage
    from gateline.tracking.comparison import Comparison
    from gateline.tracking.query import MetricHistory, RunPage, RunQuery
    from gateline.tracking.source import RunSource


class Tracking:
    """Runs, and the snapshots of those that began to matter.

    Args:
        ledger: Records the freezes.
        source: Where runs are read from; the embedded MLflow.
        lineage: Learns which dataset versions a run read.
        dataset_digest: Tells the digest of a dataset version by id, None when there is none. A run that names a version under
            another digest is not frozen. Without it claims are taken as they are.
        fit_digest: The same for the fit of a feature set that a run was trained with, which its tag `feature_fit` names.
    """

    def __init__(
        self,
        ledger: Ledger,
        source: RunSource,
        lineage: Lineage,
        *,
        dataset_digest: Callable[[str], str | None] | None = None,
        fit_digest: Callable[[str], str | None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._source = source
        self._lineage = lineage
        self._dataset_digest = dataset_digest
        self._fit_digest = fit_digest

    def freeze(self, actor: str, run_id: str) -> RunSnapshot:
        """Freeze a finished run: its facts and the digest of each of its files go into records; its files are sealed from then on.

        Freezing again returns the same snapshot.

        Raises:
            NotFound: MLflow has no such run.
            Conflict: the run is not finished.
            IntegrityFailure: an input names a dataset version, or a tag the fit of a feature set, that does not exist or has another
                digest.
            Unavailable: MLflow is still loading.
        """
        existing = self.find(run_id)
        if existing is not None:
            return existing
        with self._source.hold(run_id):
            facts = self._source.read(run_id)
            refusal = rules.refusal_to_freeze(facts)
            if refusal is not None:
                raise refusal
            self._check_inputs(facts)
            self._check_fit(facts)
            return self._store(actor, facts)

    def _store(self, actor: str, facts: RunFacts) -> RunSnapshot:
        with self._ledger.transaction(actor) as tx:
            row = tx.session.get(RunSnapshotRow, facts.run_id)
            if row is not None:
                return _snapshot(row)
            snapshot = snapshot_of(facts, frozen_at=tx.now, frozen_by=actor)
            row = RunSnapshotRow(run_id=facts.run_id, digest=snapshot.digest, document=facts.facts(), frozen_at=tx.now, frozen_by=actor)
            tx.session.add(row)
            tx.record("run.frozen", facts.run_id, {"digest": snapshot.digest, "files": len(rules.all_files(facts)), "user": facts.user})
            tx.publish("run.frozen", {"run_id": facts.run_id, "digest": snapshot.digest})
            node = Node(kind="run", id=facts.run_id, label=facts.name)
            for version in sorted({one.version for one in facts.inputs if one.version}):
                self._lineage.link(tx, Node(kind="dataset_version", id=version, label=version), node, "read_by")
            if fit := facts.tags.get(FIT_TAG):
                self._lineage.link(tx, Node(kind="feature_fit", id=fit, label=fit), node, "transformed_by")
            return snapshot

    def _check_inputs(self, facts: RunFacts) -> None:
        if self._dataset_digest is None:
            return
        for one in facts.inputs:
            if one.version and self._dataset_digest(one.version) != one.sha256:
                raise IntegrityFailure(
                    f"Run {facts.run_id} says it read dataset version {one.version} with sha256 {one.sha256 or '(none given)'}; "
                    f"the record says {self._dataset_digest(one.version) or 'there is no such version'}.",
                    next_step="Run the training again on the registered dataset version.",
                    facts={"run_id": facts.run_id, "dataset_version": one.version},
                )

    def _check_fit(self, facts: RunFacts) -> None:
        fit = facts.tags.get(FIT_TAG)
        if not fit or self._fit_digest is None:
            return
        claimed, recorded = facts.tags.get(FIT_DIGEST_TAG), self._fit_digest(fit)
        if recorded is None or claimed != recorded:
            raise IntegrityFailure(
                f"Run {facts.run_id} says it was trained with fit {fit} of digest {claimed or '(none given)'}; "
                f"the record says {recorded or 'there is no such fit'}.",
                next_step="Run the training again with a recorded fit: tracked_run(…, feature_fit=…).",
                facts={"run_id": facts.run_id, "fit": fit},
            )

    def find(self, run_id: str) -> RunSnapshot | None:
        """Return the snapshot of a run, or None when it was never frozen."""
        with self._ledger.records.read() as session:
            row = session.get(RunSnapshotRow, run_id)
            return None if row is None else _snapshot(row)

    def get(self, run_id: str) -> RunSnapshot:
        """Return the snapshot of a run.

        Raises:
            NotFound: the run was never frozen.
        """
        found = self.find(run_id)
        if found is None:
            raise NotFound(f"Run {run_id} has no snapshot.", next_step=f"Freeze it: POST /api/v1/runs/{run_id}/freeze.")
        return found

    def read(self, run_id: str) -> RunFacts:
        """Return the snapshot when the run is frozen, and otherwise the run as MLflow tells it now, without its files.

        Raises:
            NotFound: there is no such run.
        """
        return self.find(run_id) or self._source.read(run_id, with_files=False)

    def search(self, query: RunQuery) -> RunPage:
        """Return a page of runs as MLflow tells them now, without their files and metric histories.

        Raises:
            InvalidInput: filter, order or page token is wrong; the message quotes where, and says what is allowed.
            NotFound: there is no such experiment.
        """
        return self._source.search(query)

    def history(self, run_id: str, name: str, *, limit: int) -> MetricHistory:
        """Return the values of a metric, or a sample of at most `limit` of them that keeps first, last, peaks and gaps.

        Raises:
            NotFound: there is no such run, or it has no such metric.
        """
        return self._source.history(run_id, name, limit=limit)

    def compare(self, run_ids: Sequence[str]) -> Comparison:
        """Return what differs between two to ten runs, and what is equal. Frozen runs are compared as they were frozen.

        Raises:
            InvalidInput: too few or too many runs, or one of them twice.
            NotFound: there is no such run.
            IntegrityFailure: the recorded environment of a frozen run was changed.
        """
        runs = [self.read(run_id) for run_id in checked_runs(run_ids)]
        return compare(runs, {run.run_id: self._environment(run) for run in runs})

    def _environment(self, run: RunFacts) -> dict[str, Any]:
        """Return what the run recorded of where it ran; empty when it recorded nothing that can be read."""
        content = self._source.content(run.run_id, ENVIRONMENT_FILE)
        if isinstance(run, RunSnapshot) and run.environment_digest != ("" if content is None else sha256_bytes(content)):
            raise IntegrityFailure(
                f"File '{ENVIRONMENT_FILE}' of frozen run {run.run_id} differs from its snapshot.",
                next_step=f"See what else was changed: gateline tracking verify {run.run_id}",
                facts={"run_id": run.run_id, "path": ENVIRONMENT_FILE},
            )
        try:
            found = json.loads(content or b"{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def content(self, run_id: str, path: str, *, model_id: str = "") -> bytes | None:
        """Return the bytes of a file of a frozen run, or of a model it produced; None when there is none, or it is larger than 16 MiB.

        Raises:
            NotFound: the run was never frozen.
            IntegrityFailure: the file is not the one that was frozen.
        """
        snapshot = self.get(run_id)
        files = next((one.files for one in snapshot.models if one.model_id == model_id), {}) if model_id else snapshot.artifacts
        if path not in files:
            return None
        content = self._source.content(run_id, path, model_id=model_id)
        if content is not None and sha256_bytes(content) != files[path].sha256:
            raise IntegrityFailure(
                f"File '{path}' of frozen run {run_id} differs from its snapshot.",
                next_step=f"See what else was changed: gateline tracking verify {run_id}",
                facts={"run_id": run_id, "path": path},
            )
        return content

    def annotate(self, actor: str, run_id: str, *, tags: Mapping[str, str | None], note: str | None = None) -> RunFacts:
        """Set tags of a run that is not frozen, remove those whose value is None, and set its note; return the run.

        Args:
            actor: Who asks.
            run_id: The run.
            tags: New values by key.
            note: Words for people in Markdown, as MLflow's UI shows them; empty removes the note, None leaves it.

        Raises:
            InvalidInput: nothing is to be changed, or MLflow refuses a key or value.
            Denied: a tag is reserved.
            Conflict: the run is frozen.
            NotFound: there is no such run.
        """
        wanted = {**tags, **({} if note is None else {NOTE_TAG: note or None})}
        rules.check_tags(wanted)
        if self.find(run_id) is not None:
            raise Conflict(
                f"Run {run_id} is frozen: its tags and note are part of its digest.",
                next_step="Write what is to be said about it into the model version, or start a new run.",
                facts={"run_id": run_id},
            )
        self._source.annotate(actor, run_id, wanted)
        return self._source.read(run_id, with_files=False)

    def frozen(self, run_ids: Iterable[str]) -> set[str]:
        """Return those of the runs that are frozen."""
        return frozen_runs(self._ledger.records, run_ids)

    def verify(self, run_id: str) -> RunSnapshot:
        """Read every file of a frozen run again and return the snapshot when all of them, and its own digest, still match.

        Raises:
            NotFound: the run was never frozen.
            IntegrityFailure: a file differs, is missing or was added, or the stored snapshot was changed.
        """
        snapshot = self.get(run_id)
        if run_digest(snapshot) != snapshot.digest:
            raise IntegrityFailure(
                f"The stored snapshot of run {run_id} differs from its digest {snapshot.digest}.",
                next_step="Verify the ledger and restore the records database from a backup.",
                facts={"run_id": run_id, "expected": snapshot.digest, "found": run_digest(snapshot)},
            )
        failure = rules.changed_file(snapshot, self._source.read(run_id))
        if failure is not None:
            raise failure
        return snapshot


def frozen_runs(records: Records, run_ids: Iterable[str]) -> set[str]:
    """Return those of the runs that are frozen in these records."""
    return records.column(FROZEN, {"run_ids": sorted(run_ids)})


def _snapshot(row: RunSnapshotRow) -> RunSnapshot:
    return snapshot_from(row.document, recorded=row.digest, frozen_at=row.frozen_at, frozen_by=row.frozen_by)
