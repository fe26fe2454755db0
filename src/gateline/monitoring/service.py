"""Monitoring: what other domains, the server and the command line call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gateline.data import ObjectStore
from gateline.kernel.canonical import digest
from gateline.kernel.clock import SECOND, iso
from gateline.kernel.errors import Conflict, InvalidInput, NotFound
from gateline.kernel.limits import PAGE_ROWS_MAX
from gateline.kernel.passes import step_each
from gateline.monitoring import alerts, store
from gateline.monitoring.closing import ACTOR, WindowCloser
from gateline.monitoring.labelling import Labelling
from gateline.monitoring.model import Alert, Analysis, FeaturePlan, LabelReceipt, MonitorPlan, Reference, ReferenceSource, Window
from gateline.monitoring.plans import check_plan, plan_from_dict
from gateline.monitoring.references import References, build
from gateline.monitoring.watermarks import EventTimes
from gateline.monitoring.windows import closes, first_start

if TYPE_CHECKING:
    import polars as pl

    from gateline.ledger import Ledger
    from gateline.serving import Serving

_WINDOWS_PER_PASS = 8
_INGESTED_AT_ONCE = 100_000


class Monitoring:
    """Watches endpoints: labels in, windows closed, alerts out.

    Callers may rely on: a batch of labels is taken whole or not at all; a window of an analysis is closed exactly once, and never changes;
    an alert opens in the transaction that closes its window. What arrives after a window was closed is counted in a later window's note.

    Args:
        ledger: Records and ledger.
        objects: Holds reference files.
        serving: Gives the predictions.
    """

    def __init__(self, ledger: Ledger, objects: ObjectStore, serving: Serving) -> None:
        self._ledger = ledger
        self._objects = objects
        self._serving = serving
        self._times = EventTimes(serving)
        # What was looked at last, where nothing was due: the same needs no second look. Only a saving; records decide.
        self._settled: dict[str, tuple[dict[str, Any], int | None, int | None]] = {}
        self._labelling = Labelling(ledger, serving)
        self._closer = WindowCloser(ledger, serving, References(objects), self._labelling)

    def record_labels(self, actor: str, endpoint: str, rows: Sequence[Mapping[str, Any]]) -> LabelReceipt:
        """Take a batch of labels in: all of it, or nothing when a row is wrong.

        A label may come before its prediction has been read from the log; it then waits. The same row again changes nothing. A label that
        became known later replaces an earlier one, which is kept. One that is older, or as old with another value, is not taken.

        Args:
            actor: Name of the principal.
            endpoint: The endpoint.
            rows: `{"prediction_id" | "request_id", "label", "event_time"}`, at most `LABEL_ROWS_MAX`; `event_time` is when the label
                became known, as microseconds or ISO 8601.

        Raises:
            NotFound: there is no such endpoint.
            InvalidInput: rows are wrong; the first twenty are named.
            TooLarge: there are too many rows.
        """
        self._serving.endpoint(endpoint)
        return self._labelling.record(actor, endpoint, rows)

    def labelled(self, endpoint: str, start: int | None = None, end: int | None = None) -> pl.DataFrame:
        """Return every scored prediction of a range of event time, all arms and shadows, with its label.

        Returns:
            The columns of `Serving.predictions`, then `label` (float) and `label_event_time` (microseconds); both are null without a label.
        """
        return self._labelling.labelled(endpoint, start, end)

    def label_batch(self, endpoint: str) -> int:
        """Return the number of the newest batch of labels; 0 before the first. It changes whenever labels have come."""
        with self._ledger.records.read() as session:
            return store.label_batch(session, endpoint)

    def label_history(self, endpoint: str, *, prediction_id: str = "", request_id: str = "") -> list[dict[str, Any]]:
        """Return the labels that corrections replaced, oldest first."""
        return self._labelling.history(endpoint, f"p:{prediction_id}" if prediction_id else f"r:{request_id}")

    def set_plan(self, actor: str, endpoint: str, plan: MonitorPlan) -> MonitorPlan:
        """Declare what is watched on an endpoint; the same plan again changes nothing.

        Raises:
            NotFound: there is no such endpoint.
            InvalidInput: the plan is out of range.
            Conflict: windows would be cut otherwise than those already closed, or than the references were calibrated for.
        """
        declared = {feature.name for feature in self._serving.endpoint(endpoint).features}
        check_plan(plan)
        if unknown := [feature.name for feature in plan.features if feature.name not in declared]:
            raise InvalidInput(
                f"The endpoint '{endpoint}' has no feature {', '.join(unknown[:20])}.", next_step=f"It has {', '.join(sorted(declared))}."
            )
        with self._ledger.transaction(actor) as tx:
            row = tx.session.get(store.PlanRow, endpoint, with_for_update=True)
            if row is None:
                tx.session.add(store.PlanRow(endpoint=endpoint, plan=plan.as_dict(), created_at=tx.now, created_by=actor))
            elif plan_from_dict(row.plan) == plan:
                return plan
            else:
                earlier = plan_from_dict(row.plan)
                recut = (earlier.window_seconds, earlier.timezone) != (plan.window_seconds, plan.timezone)
                if recut and (store.last_window(tx.session, endpoint, Analysis.DRIFT) or store.references(tx.session, endpoint)):
                    raise Conflict(
                        f"The windows of '{endpoint}' are {earlier.window_seconds} s long in {earlier.timezone}; windows are closed or"
                        " references calibrated on that cut.",
                        next_step="Keep window_seconds and timezone, or watch another endpoint.",
                    )
                row.plan, row.created_at, row.created_by = plan.as_dict(), tx.now, actor
            tx.record("monitor.plan.declared", endpoint, {"plan": plan.as_dict(), "digest": digest("monitor-plan", plan.as_dict())})
        return plan

    def set_reference(self, actor: str, endpoint: str, source: ReferenceSource) -> Reference:
        """Build and record what the endpoint is held against from now on; closed windows keep the reference they were judged by.

        The reference with the version's own name is used for windows which that version answered; the newest one for any other.
        The same source under the same plan as before changes nothing.

        Raises:
            NotFound: the endpoint has no plan, or a file is not stored.
            InvalidInput: a file is no table, is empty, or lacks columns.
            IntegrityFailure: a file changed under its digest.
        """
        plan = self.plan(endpoint)
        special = {feature.name: feature for feature in plan.features}
        features = [
            FeaturePlan(name=one.name, kind=special[one.name].kind or one.kind.value if one.name in special else one.kind.value)
            for one in self._serving.endpoint(endpoint).features
        ]
        content, summary = build(self._objects, source, plan, features)
        profile = self._objects.put_bytes(content).sha256
        with self._ledger.transaction(actor) as tx:
            tx.session.get(store.PlanRow, endpoint, with_for_update=True)
            known = store.references(tx.session, endpoint)
            if known and (known[0].profile, known[0].source) == (profile, source):
                return known[0]
            revision = known[0].revision + 1 if known else 1
            tx.session.add(
                store.ReferenceRow(
                    endpoint=endpoint, revision=revision, version=source.version, source=asdict(source), profile=profile, summary=summary,
                    created_at=tx.now, created_by=actor,
                )
            )  # fmt: skip
            tx.session.flush()
            tx.record("monitor.reference.set", f"{endpoint}/reference@{revision}", {**asdict(source), "profile": profile})
            return store.references(tx.session, endpoint)[0]

    def plan(self, endpoint: str) -> MonitorPlan:
        """Return the plan of an endpoint.

        Raises:
            NotFound: it is not watched.
        """
        with self._ledger.records.read() as session:
            return plan_from_dict(_plan_row(session.get(store.PlanRow, endpoint), endpoint).plan)

    def references(self, endpoint: str) -> list[Reference]:
        """Return the references of an endpoint, newest first."""
        with self._ledger.records.read() as session:
            return store.references(session, endpoint)

    def watermark(self, endpoint: str) -> int | None:
        """Return the newest event time seen of predictions and labels; it never falls. None before the first."""
        with self._ledger.records.read() as session:
            labels = store.label_watermark(session, endpoint)
        span = self._times.span(endpoint)
        known = [at for at in (labels, None if span is None else span[1]) if at is not None]
        return max(known, default=None)

    def windows(
        self, endpoint: str, *, analysis: Analysis | None = None, start: int | None = None, limit: int = PAGE_ROWS_MAX
    ) -> list[Window]:
        """Return closed windows in order of time: from an instant on, or the newest `limit` of them."""
        self._serving.endpoint(endpoint)
        with self._ledger.records.read() as session:
            return store.windows(session, endpoint, analysis=analysis, start=start, limit=min(limit, PAGE_ROWS_MAX))

    def alerts(self, endpoint: str = "", *, unresolved: bool = False, limit: int = PAGE_ROWS_MAX) -> list[Alert]:
        """Return alerts, newest first: of one endpoint or of all, all or those not resolved yet."""
        if endpoint:
            self._serving.endpoint(endpoint)
        with self._ledger.records.read() as session:
            return store.alerts(session, endpoint=endpoint, unresolved=unresolved, limit=min(limit, PAGE_ROWS_MAX))

    def acknowledge(self, actor: str, alert_id: str, comment: str = "") -> Alert:
        """Note that somebody looks after an alert; raises NotFound, or Conflict when it is resolved."""
        with self._ledger.transaction(actor) as tx:
            return alerts.acknowledge(tx, alert_id, comment)

    def resolve(self, actor: str, alert_id: str, comment: str = "") -> Alert:
        """End an alert; raises NotFound, or Conflict when it is resolved already."""
        with self._ledger.transaction(actor) as tx:
            return alerts.resolve_by_hand(tx, alert_id, comment)

    def status(self, endpoint: str) -> dict[str, Any]:
        """Return plan, references, watermark, the next window to close, pending labels and unresolved alerts, for JSON.

        Raises:
            NotFound: the endpoint is not watched.
        """
        with self._ledger.records.read() as session:
            row = _plan_row(session.get(store.PlanRow, endpoint), endpoint)
            plan, drift = plan_from_dict(row.plan), store.last_window(session, endpoint, Analysis.DRIFT)
            performance = store.last_window(session, endpoint, Analysis.PERFORMANCE)
        start = drift.end if drift is not None else row.origin
        watermark = self.watermark(endpoint)
        return {
            "endpoint": endpoint,
            "plan": plan.as_dict(),
            "references": [reference.as_dict() for reference in self.references(endpoint)],
            "watermark": None if watermark is None else iso(watermark),
            "next_window_start": None if start is None else iso(start),
            "next_window_end": None if start is None else iso(start + plan.window_seconds * SECOND),
            "last": {one.analysis: store.to_window(one).as_dict() for one in (drift, performance) if one is not None},
            "labels_pending": self._labelling.pending(endpoint),
            "alerts": [alert.as_dict() for alert in self.alerts(endpoint, unresolved=True)],
        }

    def reconcile(self) -> int:
        """Close what the watermarks allow on every watched endpoint, and return how many windows were closed.

        Idempotent: a crash at any point loses nothing and repeats nothing. At most eight windows of an endpoint are closed per call.
        """
        with self._ledger.records.read() as session:
            watched = store.plans(session)
        return step_each({one[0]: one for one in watched}, lambda one: self._reconcile_when_new(*one), what="closing windows")

    def _reconcile_when_new(self, endpoint: str, stored: dict[str, Any], origin: int | None) -> int:
        watermark = self.watermark(endpoint)
        seen = (stored, origin, watermark)
        if self._settled.get(endpoint) == seen:
            return 0
        closed = self._reconcile(endpoint, plan_from_dict(stored), origin, watermark)
        if not closed:
            self._settled[endpoint] = seen
        return closed

    def _reconcile(self, endpoint: str, plan: MonitorPlan, origin: int | None, watermark: int | None) -> int:
        origin = self._open_windows(endpoint, plan) if origin is None else origin
        if watermark is None or origin is None:
            return 0
        closed, current = 0, False
        while closed < _WINDOWS_PER_PASS and (due := self._due(endpoint, plan, origin, watermark)) is not None:
            if not current:
                # The log may hold predictions older than the watermark, which labels move too: read it first.
                while self._serving.ingest(endpoint) >= _INGESTED_AT_ONCE:
                    pass
                current = True
            if isinstance(due, Window):
                closed += self._closer.close_performance(plan, due, watermark)
            else:
                closed += self._closer.close_drift(endpoint, plan, due, watermark)
        return closed

    def _due(self, endpoint: str, plan: MonitorPlan, origin: int, watermark: int) -> int | Window | None:
        """Return the start of the window to close for drift, or the window to close for performance, whichever ends its wait first."""
        with self._ledger.records.read() as session:
            drift = store.last_window(session, endpoint, Analysis.DRIFT)
            start = origin if drift is None else drift.end
            judged = store.last_window(session, endpoint, Analysis.PERFORMANCE)
            waiting = store.next_for_performance(session, endpoint, None if judged is None else judged.start)
            if waiting is not None and closes(waiting.end, plan, Analysis.PERFORMANCE, watermark):
                return store.to_window(waiting)
        return start if closes(start + plan.window_seconds * SECOND, plan, Analysis.DRIFT, watermark) else None

    def _open_windows(self, endpoint: str, plan: MonitorPlan) -> int | None:
        """Fix where the endpoint's windows begin, once it has a prediction."""
        span = self._times.span(endpoint)
        if span is None:
            return None
        with self._ledger.transaction(ACTOR) as tx:
            row = _plan_row(tx.session.get(store.PlanRow, endpoint, with_for_update=True), endpoint)
            if row.origin is None:
                row.origin = first_start(span[0], plan.timezone)
                tx.record("monitor.windows.opened", endpoint, {"origin": row.origin, "first_event_time": span[0]})
            return row.origin


def _plan_row(row: store.PlanRow | None, endpoint: str) -> store.PlanRow:
    if row is None:
        raise NotFound(f"The endpoint '{endpoint[:100]}' is not watched.", next_step="Declare a plan with PUT /endpoints/{name}/monitor.")
    return row
