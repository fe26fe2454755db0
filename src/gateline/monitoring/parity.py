"""Feature parity in production: features as served, from the prediction log, against their offline recomputation, day by day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.data import Datasets
from gateline.features import FeatureSets
from gateline.kernel.canonical import digest
from gateline.kernel.clock import MINUTE, SECOND, iso
from gateline.kernel.errors import GatelineError, InvalidInput, NotFound
from gateline.kernel.limits import PAGE_ROWS_MAX
from gateline.kernel.passes import step_each
from gateline.monitoring import parity_store
from gateline.monitoring.model import Analysis
from gateline.monitoring.parity_model import ParityPlan, ParityRun
from gateline.monitoring.parity_plans import check_parity_plan, named_set, parity_plan_from_dict
from gateline.monitoring.parity_record import Comparisons
from gateline.monitoring.parity_rules import day_end, is_closed, is_overdue
from gateline.monitoring.watermarks import EventTimes
from gateline.monitoring.windows import first_start

if TYPE_CHECKING:
    from gateline.kernel.clock import Instant
    from gateline.ledger import Ledger
    from gateline.monitoring.service import Monitoring
    from gateline.serving import Serving

ACTOR = "gateline:parity"
RETRY = 10 * MINUTE
_INGESTED_AT_ONCE = 100_000


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
        self._comparisons = Comparisons(ledger, serving, feature_sets=feature_sets, datasets=datasets)
        self._times = EventTimes(serving)
        # When an endpoint that failed, or waits for data, is looked at again. Only a saving: after a restart it is looked at at once.
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
        return self._comparisons.recorded(actor, self._comparisons.task(endpoint, plan, start, end, watermark or 0, daily=daily))

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
        comparison fails, or waits for its data, is looked at again ten minutes later and keeps no other waiting.
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
        task = self._comparisons.task(endpoint, plan, start, end, watermark, daily=True)
        if following is not None and following < end and task.stale and not is_overdue(end, plan, watermark):
            self._retry_at[endpoint] = self._ledger.clock.now() + RETRY
            return 0
        self._comparisons.recorded(ACTOR, task)
        return 1

    @staticmethod
    def _silent_end(plan: ParityPlan, end: Instant, following: Instant | None, watermark: Instant) -> Instant:
        """Return the last midnight that the watermark allows to close before the next event."""
        while (later := day_end(end, plan.timezone)) and is_closed(later, plan, watermark) and (following is None or later <= following):
            end = later
        return end

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
