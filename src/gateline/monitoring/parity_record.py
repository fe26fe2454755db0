"""Making one comparison and recording it: its inputs, its outcome, and what that does to the alert, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateline.data import Datasets
from gateline.features import FeatureSets, FeatureSetVersion
from gateline.kernel.canonical import digest
from gateline.monitoring import alerts, parity_store
from gateline.monitoring.model import Analysis, State, Window
from gateline.monitoring.parity_compare import Compared, compare_requests
from gateline.monitoring.parity_model import ParityPlan, ParityRun, RequestCounts, severity
from gateline.monitoring.parity_plans import named_set
from gateline.monitoring.parity_rules import judge_run
from gateline.monitoring.parity_words import stale_sentence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.data import DatasetVersion
    from gateline.kernel.clock import Instant
    from gateline.ledger import Ledger, Transaction
    from gateline.serving import Serving


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One interval to compare, with everything that decides the outcome."""

    endpoint: str
    start: int
    end: int
    daily: bool
    plan: ParityPlan
    feature_set: FeatureSetVersion
    datasets: Mapping[str, DatasetVersion]
    segment: int
    watermark: int
    inputs: str

    @property
    def stale(self) -> str:
        """Which datasets were last read before the interval ended, as a sentence; reference tables, which have no rhythm, are left out."""
        plan = self.feature_set.definition.plan
        moving = {plan.spine.dataset, *(part.source.dataset for part in plan.parts if part.as_dict()["kind"] != "lookup")}
        return stale_sentence({one.id: one.as_of for name, one in self.datasets.items() if name in moving}, self.end)


class Comparisons:
    """Makes and records comparisons. It holds no state of its own."""

    def __init__(self, ledger: Ledger, serving: Serving, *, feature_sets: FeatureSets, datasets: Datasets) -> None:
        self._ledger = ledger
        self._serving = serving
        self._feature_sets = feature_sets
        self._datasets = datasets

    def task(self, endpoint: str, plan: ParityPlan, start: Instant, end: Instant, watermark: Instant, *, daily: bool) -> Task:
        """Fix the inputs of a comparison: the newest dataset versions and the segments that overlap the interval."""
        version = self._feature_sets.get(*named_set(plan))
        needed = replace(version.definition.plan, label=None).datasets
        datasets = {name: self._datasets.get(name) for name in needed}
        segment = self._serving.last_segment(endpoint)
        overlapping = [
            one.sha256 for one in self._serving.segments(endpoint)
            if one.id <= segment and one.min_event_time < end and one.max_event_time >= start
        ]  # fmt: skip
        content = {
            "start": start, "end": end, "daily": daily, "plan": plan.as_dict(), "feature_set": version.digest,
            "datasets": {name: one.digest for name, one in datasets.items()}, "segments": overlapping,
        }  # fmt: skip
        return Task(
            endpoint=endpoint, start=start, end=end, daily=daily, plan=plan, feature_set=version, datasets=datasets, segment=segment,
            watermark=watermark, inputs=digest("parity-run/1", content),
        )  # fmt: skip

    def recorded(self, actor: str, task: Task) -> ParityRun:
        """Return the run of these inputs, made and recorded when it is new."""
        with self._ledger.records.read() as session:
            known = parity_store.by_inputs(session, task.endpoint, task.inputs)
        found = known or self._compare(actor, task)
        return self._keep(actor, task, found)

    def _compare(self, actor: str, task: Task) -> ParityRun:
        """Compute a run; nothing is written."""
        served = self._serving.predictions(task.endpoint, start=task.start, end=task.end, until_segment=task.segment)
        names = tuple(one.name for one in self._serving.endpoint(task.endpoint).features)
        computed = task.feature_set.definition.features
        compared = Compared(counts=RequestCounts(), features=(), version="")
        stale = task.stale if served.height else ""
        if stale:
            state, reason = State.NOT_ENOUGH_DATA, f"The data was not refreshed in time: {stale}"
        else:
            if served.height:
                tables = {name: self._datasets.table_paths(one) for name, one in task.datasets.items()}
                common = tuple(name for name in names if name in computed)
                compared = compare_requests(served, task.feature_set.definition.plan, tables, common, task.plan)
            state, reason = judge_run(compared.counts, compared.features, task.plan)
        return ParityRun(
            endpoint=task.endpoint, start=task.start, end=task.end, revision=0, daily=task.daily, state=state, reason=reason,
            version=compared.version, feature_set=task.feature_set.id,
            dataset_versions={name: one.id for name, one in task.datasets.items()}, counts=compared.counts, features=compared.features,
            not_computed=tuple(name for name in names if name not in computed),
            not_served=tuple(name for name in computed if name not in names), plan=task.plan.as_dict(), inputs=task.inputs,
            watermark=task.watermark, finished_at=0, created_by=actor,
        )  # fmt: skip

    def _keep(self, actor: str, task: Task, run: ParityRun) -> ParityRun:
        """Record a run that is new, what it does to the alert, and that its day is done, in one transaction."""
        with self._ledger.transaction(actor) as tx:
            row = tx.session.get(parity_store.ParityPlanRow, task.endpoint, with_for_update=True)
            known = parity_store.by_inputs(tx.session, task.endpoint, task.inputs)
            if known is None:
                newest = parity_store.newest_daily(tx.session, task.endpoint)
                revision = parity_store.newest_revision(tx.session, task.endpoint, task.start, task.end) + 1
                known = replace(run, revision=revision, finished_at=tx.now)
                tx.session.add(parity_store.from_run(known))
                tx.session.flush()
                tx.record("parity.run.recorded", known.id, _entry(known))
                if known.daily and (newest is None or newest.end <= known.end):
                    _apply_to_alerts(tx, known, task.plan)
            if row is not None and row.next_start == task.start and task.daily:
                row.next_start = task.end
        return known


def _entry(run: ParityRun) -> dict[str, Any]:
    """Return the ledger entry of a run: numbers and digests, no ids of people or predictions."""
    features = {one.name: [one.compared, one.mismatch, one.missing, one.extra] for one in run.features}
    return {
        "state": run.state.value, "reason": run.reason, "daily": run.daily, "feature_set": run.feature_set,
        "dataset_versions": dict(run.dataset_versions), "features": features, "inputs": run.inputs, "watermark": run.watermark,
        "digest": digest("parity-features", [one.as_dict() for one in run.features]),
    }  # fmt: skip


def _apply_to_alerts(tx: Transaction, run: ParityRun, plan: ParityPlan) -> None:
    """Open, extend or resolve the endpoint's alert of feature parity as the newest day asks for."""
    guilty = [one for one in run.features if one.state is State.ALERT]
    window = Window(
        endpoint=run.endpoint, analysis=Analysis.FEATURE_PARITY, start=run.start, end=run.end,
        # Without a verdict nothing is known of the version that answers now: such a day must not resolve the alert of another.
        version="" if run.state is State.NOT_ENOUGH_DATA else run.version,
        rows=run.counts.compared, state=run.state, reason=run.reason, note="", watermark=run.watermark, reference=None, result={},
        closed_at=run.finished_at,
    )  # fmt: skip
    alerts.apply_window(
        tx, window, names=[one.name for one in guilty], severity=max(map(severity, guilty), default=0.0),
        resolve_after_ok=plan.resolve_after_ok,
        ok_streak=parity_store.ok_streak(tx.session, run.endpoint, run.version, plan.resolve_after_ok),
    )  # fmt: skip
