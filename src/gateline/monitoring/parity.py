"""Feature parity in production: features as served, from the prediction log, against their offline recomputation, day by day."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateline.data import Datasets
from gateline.features import FeatureSets, FeatureSetVersion
from gateline.kernel.canonical import digest
from gateline.kernel.clock import MINUTE, SECOND, iso
from gateline.kernel.errors import GatelineError, InvalidInput, NotFound
from gateline.kernel.limits import PAGE_ROWS_MAX
from gateline.kernel.passes import step_each
from gateline.monitoring import alerts, parity_store
from gateline.monitoring.model import Analysis, State, Window
from gateline.monitoring.parity_compare import Compared, compare_requests
from gateline.monitoring.parity_model import ParityPlan, ParityRun, RequestCounts, severity
from gateline.monitoring.parity_plans import check_parity_plan, named_set, parity_plan_from_dict
from gateline.monitoring.parity_rules import day_end, is_closed, is_overdue, judge_run, stale_sentence
from gateline.monitoring.watermarks import EventTimes
from gateline.monitoring.windows import first_start

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.data import DatasetVersion
    from gateline.kernel.clock import Instant
    from gateline.ledger import Ledger, Transaction
    from gateline.monitoring.service import Monitoring
    from gateline.serving import Serving

ACTOR = "gateline:parity"
RETRY = 10 * MINUTE
_INGESTED_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
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


class Parity:
    """Compares features as served with their offline recomputation.

    Callers may rely on: a day is compared once it is closed by the watermark and the datasets were read after its end; the same interval
    over the same plan, feature set, data and log gives the run that was recorded before; a run never changes; an alert opens in the
    transaction that records its run; a request that cannot be recomputed is counted apart and never as agreement.

    Args:
        ledger: Records and ledger.
        serving: Gives the predictions.
        monitoring: Gives the watermarks.
        feature_sets: Gives the definitions.
        datasets: Gives the newest versions of what these read.
    """

    def __init__(self, ledger: Ledger, serving: Serving, monitoring: Monitoring, *, feature_sets: FeatureSets, datasets: Datasets) -> None:
        self._ledger = ledger
        self._serving = serving
        self._monitoring = monitoring
        self._feature_sets = feature_sets
        self._datasets = datasets
        self._times = EventTimes(serving)
        # When an endpoint that failed is tried again. Only a saving: after a restart it is tried at once.
        self._retry_at: dict[str, Instant] = {}

    def set_plan(self, actor: str, endpoint: str, plan: ParityPlan) -> ParityPlan:
        """Declare how an endpoint's features are compared; the same plan again changes nothing. Recorded runs keep theirs.

        Raises:
            NotFound: there is no such endpoint or feature set.
            InvalidInput: the plan is out of range, or endpoint and set have no feature in common.
        """
        check_parity_plan(plan)
        served = {one.name for one in self._serving.endpoint(endpoint).features}
        found = self._feature_sets.get(*named_set(plan))
        if not served & set(found.definition.features):
            raise InvalidInput(
                f"The endpoint '{endpoint}' takes no feature of '{found.id}'.",
                next_step=f"The endpoint has {', '.join(sorted(served)[:20])}; the set {', '.join(found.definition.features[:20])}.",
            )
        with self._ledger.transaction(actor) as tx:
            row = tx.session.get(parity_store.ParityPlanRow, endpoint, with_for_update=True)
            if row is None:
                row = parity_store.ParityPlanRow(endpoint=endpoint, plan=plan.as_dict(), created_at=tx.now, created_by=actor)
                tx.session.add(row)
            else:
                earlier = parity_plan_from_dict(row.plan)
                if earlier == plan:
                    return plan
                if earlier.timezone != plan.timezone and row.next_start is not None:
                    row.next_start = first_start(row.next_start, plan.timezone)
                row.plan, row.created_at, row.created_by = plan.as_dict(), tx.now, actor
            tx.record("parity.plan.declared", endpoint, {"plan": plan.as_dict(), "digest": digest("parity-plan", plan.as_dict())})
        self._retry_at.pop(endpoint, None)
        return plan

    def plan(self, endpoint: str) -> ParityPlan:
        """Return the plan of an endpoint.

        Raises:
            NotFound: it has none.
        """
        return self._declared(endpoint)[0]

    def run(self, actor: str, endpoint: str, start: Instant | None = None, end: Instant | None = None) -> ParityRun:
        """Compare an interval of event time now and return the recorded run; the run before when nothing that decides it has changed.

        Args:
            actor: Who asks.
            endpoint: The endpoint.
            start: First instant; the begin of the newest closed day when left out.
            end: First instant after it; the end of the day of `start` when left out.

        Raises:
            NotFound: the endpoint has no plan, a feature set or dataset is not there, or there is no closed day yet.
            InvalidInput: the interval is empty, or the set cannot be computed over the newest dataset versions.
            IntegrityFailure: a table or segment changed under its digest.
        """
        plan, _ = self._declared(endpoint)
        self._take_in(endpoint)
        watermark = self._monitoring.watermark(endpoint)
        if start is None:
            start = self._last_closed_day(plan, watermark)
            if start is None:
                raise NotFound(f"No day of '{endpoint}' is closed yet.", next_step="Name start and end, or wait for more predictions.")
        end = day_end(start, plan.timezone) if end is None else end
        if end <= start:
            raise InvalidInput(f"The interval is empty: it begins at {iso(start)} and ends at {iso(end)}.")
        daily = start == first_start(start, plan.timezone) and end == day_end(start, plan.timezone) and is_closed(end, plan, watermark)
        return self._recorded(actor, self._task(endpoint, plan, start, end, watermark or 0, daily=daily))

    def runs(self, endpoint: str, *, limit: int = PAGE_ROWS_MAX) -> list[ParityRun]:
        """Return the runs of an endpoint, the newest interval and revision first; raises NotFound for an unknown endpoint."""
        self._serving.endpoint(endpoint)
        with self._ledger.records.read() as session:
            return parity_store.runs(session, endpoint, limit=min(limit, PAGE_ROWS_MAX))

    def status(self, endpoint: str) -> dict[str, Any]:
        """Return plan, watermark, the next day, the newest daily run and unresolved alerts, for JSON.

        Raises:
            NotFound: the endpoint has no plan.
        """
        plan, next_start = self._declared(endpoint)
        watermark = self._monitoring.watermark(endpoint)
        with self._ledger.records.read() as session:
            newest = parity_store.newest_daily(session, endpoint)
        unresolved = [one for one in self._monitoring.alerts(endpoint, unresolved=True) if one.kind is Analysis.FEATURE_PARITY]
        return {
            "endpoint": endpoint,
            "plan": plan.as_dict(),
            "watermark": None if watermark is None else iso(watermark),
            "next_start": None if next_start is None else iso(next_start),
            "next_end": None if next_start is None else iso(day_end(next_start, plan.timezone)),
            "newest": None if newest is None else newest.as_dict(),
            "alerts": [alert.as_dict() for alert in unresolved],
        }

    def facts(self, endpoint: str) -> dict[str, Any]:
        """Return what a gate needs to know of an endpoint's parity, for JSON; it changes only when its runs do, or when one is overdue.

        Raises:
            NotFound: there is no such endpoint.
        """
        self._serving.endpoint(endpoint)
        with self._ledger.records.read() as session:
            row = session.get(parity_store.ParityPlanRow, endpoint)
            run = parity_store.newest_daily(session, endpoint)
        overdue = ""
        if row is not None and row.next_start is not None:
            plan = parity_plan_from_dict(row.plan)
            end = day_end(row.next_start, plan.timezone)
            overdue = iso(row.next_start) if is_overdue(end, plan, self._monitoring.watermark(endpoint)) else ""
        worst = None if run is None else run.worst
        return {
            "endpoint": endpoint,
            "declared": row is not None,
            "overdue": overdue,
            "run": None if run is None else {
                "id": run.id, "start": iso(run.start), "end": iso(run.end), "state": run.state.value, "reason": run.reason,
                "compared": run.counts.compared, "feature_set": run.feature_set,
                "worst": None if worst is None else {
                    "feature": worst.name, "kind": worst.kind, "share": worst.share, "limit": worst.limit,
                },
            },
        }  # fmt: skip

    def reconcile(self) -> int:
        """Compare the next day of every endpoint whose watermark and datasets allow it, and return how many days are done.

        At most one day of an endpoint per call. Idempotent: a crash at any point loses nothing and repeats nothing. An endpoint whose
        comparison fails is tried again ten minutes later and keeps no other waiting.
        """
        with self._ledger.records.read() as session:
            planned = [(row.endpoint, row.plan, row.next_start) for row in parity_store.plans(session)]
        return step_each({one[0]: one for one in planned}, lambda one: self._step(*one), what="comparing features")

    def _step(self, endpoint: str, stored: dict[str, Any], next_start: Instant | None) -> int:
        now = self._ledger.clock.now()
        if now < self._retry_at.get(endpoint, now) <= now + RETRY:  # a clock set back does not postpone for longer
            return 0
        try:
            plan, watermark = parity_plan_from_dict(stored), self._monitoring.watermark(endpoint)
            start = self._open_days(endpoint, plan, watermark) if next_start is None else next_start
            if watermark is None or start is None or not is_closed(day_end(start, plan.timezone), plan, watermark):
                return 0
            return self._compare_day(endpoint, plan, start, watermark)
        except GatelineError:
            self._retry_at[endpoint] = now + RETRY
            raise

    def _compare_day(self, endpoint: str, plan: ParityPlan, start: Instant, watermark: Instant) -> int:
        """Compare one closed day when its data is there; a silence is closed as one run."""
        end = day_end(start, plan.timezone)
        self._take_in(endpoint)
        following = self._next_event(endpoint, start)
        if following is None or following >= end:
            end = self._silent_end(plan, end, following, watermark)
        task = self._task(endpoint, plan, start, end, watermark, daily=True)
        if following is not None and following < end and _stale(task) and not is_overdue(end, plan, watermark):
            return 0
        self._recorded(ACTOR, task)
        return 1

    @staticmethod
    def _silent_end(plan: ParityPlan, end: Instant, following: Instant | None, watermark: Instant) -> Instant:
        """Return the last midnight that the watermark allows to close before the next event."""
        while (later := day_end(end, plan.timezone)) and is_closed(later, plan, watermark) and (following is None or later <= following):
            end = later
        return end

    def _task(self, endpoint: str, plan: ParityPlan, start: Instant, end: Instant, watermark: Instant, *, daily: bool) -> _Task:
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
        return _Task(
            endpoint=endpoint, start=start, end=end, daily=daily, plan=plan, feature_set=version, datasets=datasets, segment=segment,
            watermark=watermark, inputs=digest("parity-run/1", content),
        )  # fmt: skip

    def _recorded(self, actor: str, task: _Task) -> ParityRun:
        """Return the run of these inputs, made and recorded when it is new."""
        with self._ledger.records.read() as session:
            known = parity_store.by_inputs(session, task.endpoint, task.inputs)
        found = known or self._compare(actor, task)
        return self._keep(actor, task, found)

    def _compare(self, actor: str, task: _Task) -> ParityRun:
        """Compute a run; nothing is written."""
        served = self._serving.predictions(task.endpoint, start=task.start, end=task.end, until_segment=task.segment)
        names = tuple(one.name for one in self._serving.endpoint(task.endpoint).features)
        computed = task.feature_set.definition.features
        compared = Compared(counts=RequestCounts(), features=(), version="")
        stale = _stale(task) if served.height else ""
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

    def _keep(self, actor: str, task: _Task, run: ParityRun) -> ParityRun:
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

    def _declared(self, endpoint: str) -> tuple[ParityPlan, Instant | None]:
        with self._ledger.records.read() as session:
            row = session.get(parity_store.ParityPlanRow, endpoint)
        if row is None:
            raise NotFound(
                f"The endpoint '{endpoint[:100]}' has no parity plan.", next_step="Declare one: gateline monitor parity set ENDPOINT."
            )
        return parity_plan_from_dict(row.plan), row.next_start

    def _open_days(self, endpoint: str, plan: ParityPlan, watermark: Instant | None) -> Instant | None:
        """Fix the first day: that of the first prediction, or the newest closed day where the log reaches further back."""
        span = self._times.span(endpoint)
        if span is None:
            return None
        start = max(first_start(span[0], plan.timezone), self._last_closed_day(plan, watermark) or 0)
        with self._ledger.transaction(ACTOR) as tx:
            row = tx.session.get(parity_store.ParityPlanRow, endpoint, with_for_update=True)
            if row is None:
                return None
            if row.next_start is None:
                row.next_start = start
                tx.record("parity.days.opened", endpoint, {"start": start, "first_event_time": span[0]})
            return row.next_start

    @staticmethod
    def _last_closed_day(plan: ParityPlan, watermark: Instant | None) -> Instant | None:
        """Return where the newest closed day begins."""
        if watermark is None:
            return None
        midnight = first_start(watermark - plan.lateness_seconds * SECOND, plan.timezone)
        return first_start(midnight - 1, plan.timezone)

    def _take_in(self, endpoint: str) -> None:
        """Read the log first: it may hold predictions older than the watermark, which labels move too."""
        while self._serving.ingest(endpoint) >= _INGESTED_AT_ONCE:
            pass

    def _next_event(self, endpoint: str, after: Instant) -> Instant | None:
        times = self._serving.predictions(endpoint, start=after, columns=["event_time"])["event_time"]
        return int(times.to_numpy().min()) if len(times) else None


def _stale(task: _Task) -> str:
    """Return which datasets were last read before the interval ended; reference tables, which have no rhythm, are left out."""
    plan = task.feature_set.definition.plan
    moving = {plan.spine.dataset, *(part.source.dataset for part in plan.parts if part.as_dict()["kind"] != "lookup")}
    return stale_sentence({one.id: one.as_of for name, one in task.datasets.items() if name in moving}, task.end)


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
