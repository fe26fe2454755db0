"""Closing windows: each one once, from what the log and the labels held when the watermark allowed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import polars as pl

from gateline.kernel.canonical import digest
from gateline.kernel.clock import SECOND, iso
from gateline.monitoring import alerts, store
from gateline.monitoring.drift import observe, slot_of
from gateline.monitoring.model import PREDICTION, Analysis, FeatureDrift, Group, MonitorPlan, Reference, State, Window
from gateline.monitoring.performance import measure_groups, summarise_groups
from gateline.monitoring.references import References, choose, performance_of, predictions_comparable
from gateline.monitoring.rules import Observation, judge_drift, severity, summarise_drift
from gateline.monitoring.windows import margin, silent_end

if TYPE_CHECKING:
    from gateline.ledger import Ledger
    from gateline.monitoring.labelling import Labelling
    from gateline.serving import Serving

ACTOR = "gateline:monitoring"


class WindowCloser:
    """Analyses and closes the windows of endpoints. It holds no state of its own."""

    def __init__(self, ledger: Ledger, serving: Serving, references: References, labelling: Labelling) -> None:
        self._ledger = ledger
        self._serving = serving
        self._references = references
        self._labelling = labelling

    def close_drift(self, endpoint: str, plan: MonitorPlan, start: int, watermark: int) -> bool:
        """Close the window that begins at `start` for drift; returns whether this call closed it."""
        segment = self._serving.last_segment(endpoint)
        end = start + plan.window_seconds * SECOND
        rows = self._serving.predictions(endpoint, start=start, end=end, until_segment=segment).filter(~pl.col("shadow"))
        with self._ledger.records.read() as session:
            before = store.last_window(session, endpoint, Analysis.DRIFT)
            known = store.references(session, endpoint)
            batch = store.label_batch(session, endpoint)
        note = self._late_predictions(endpoint, start, None if before is None else before.segment, segment)
        found: dict[str, Any] = {"version": "", "reference": None, "state": State.NOT_ENOUGH_DATA, "result": {"features": []}}
        drifts: tuple[FeatureDrift, ...] = ()
        if not len(rows):
            end = silent_end(start, plan, next_event=self._next_event(endpoint, end), watermark=watermark)
            silent = (end - start) // (plan.window_seconds * SECOND)
            found["reason"] = f"No predictions in {silent} window{'s' if silent > 1 else ''} from {iso(start)} to {iso(end)}."
        else:
            version = _main_version(rows)
            reference = choose(known, version)
            drifts = self._drift(endpoint, plan, start, rows, reference, version)
            state, reason = summarise_drift(drifts)
            result = {"features": [drift.as_dict() for drift in drifts]}
            found = {
                "version": version,
                "reference": None if reference is None else reference.id,
                "state": state,
                "reason": reason,
                "result": result,
            }
        window = Window(
            endpoint=endpoint, analysis=Analysis.DRIFT, start=start, end=end, rows=len(rows), note=note, watermark=watermark,
            closed_at=self._ledger.clock.now(), **found,
        )  # fmt: skip
        guilty = [drift for drift in drifts if drift.state is State.ALERT]
        worst = max((severity(drift) for drift in guilty), default=0.0)
        return self._keep(window, plan, segment, batch, names=[drift.name for drift in guilty], worst=worst)

    def _drift(
        self, endpoint: str, plan: MonitorPlan, start: int, rows: pl.DataFrame, reference: Reference | None, version: str
    ) -> tuple[FeatureDrift, ...]:
        if reference is None:
            return ()
        slot = slot_of(start, plan)
        seen = [
            _incomparable(reference, version, len(rows))
            if one.name == PREDICTION and not predictions_comparable(reference, version)
            else observe(one, rows, slot)
            for one in self._references.features(reference)
        ]
        with self._ledger.records.read() as session:
            earlier = store.windows(session, endpoint, analysis=Analysis.DRIFT, limit=plan.drift.fires_within)
        history = _history([window for window in earlier if window.start < start and window.reference == reference.id])
        seasonal = frozenset(feature.name for feature in plan.features if feature.seasonal)
        return judge_drift(seen, plan.drift, history=history, seasonal=seasonal)

    def close_performance(self, plan: MonitorPlan, drift: Window, watermark: int) -> bool:
        """Close a window for performance that was closed for drift before; returns whether this call closed it."""
        endpoint, start, end = drift.endpoint, drift.start, drift.end
        known_before = end + margin(plan, Analysis.PERFORMANCE)
        predictions = self._serving.predictions(endpoint, start=start, end=end)
        with self._ledger.records.read() as session:
            batch = store.label_batch(session, endpoint)
            before = store.last_window(session, endpoint, Analysis.PERFORMANCE)
            known = store.references(session, endpoint)
            joined = self._labelling.join(session, endpoint, predictions, known_before=known_before)
            newer: list[str] = []
            if before is not None:
                known_by = before.end + margin(plan, Analysis.PERFORMANCE)
                newer = store.newer_label_keys(session, endpoint, after_batch=before.batch, before=known_by)
        late = self._labelling.of_other_windows(endpoint, newer, predictions)
        note = f"{late} labels of earlier windows came after those were closed." if late else ""
        served = predictions.filter(~pl.col("shadow"))
        version = _main_version(served) if len(served) else ""
        reference = choose(known, version)
        groups = measure_groups(joined, plan, performance_of(reference, version))
        state, reason = summarise_groups(groups)
        window = Window(
            endpoint=endpoint, analysis=Analysis.PERFORMANCE, start=start, end=end, version=version,
            rows=sum(group.labels for group in groups if not group.shadow), state=state, reason=reason, note=note, watermark=watermark,
            reference=None if reference is None else reference.id, result={"groups": [asdict(group) for group in groups]},
            closed_at=self._ledger.clock.now(),
        )  # fmt: skip
        names, worst = _guilty_metrics(groups)
        return self._keep(window, plan, self._serving.last_segment(endpoint), batch, names=names, worst=worst)

    def _keep(self, window: Window, plan: MonitorPlan, segment: int, batch: int, *, names: Sequence[str], worst: float) -> bool:
        """Write the window, its ledger entry and what it does to alerts, in one transaction; a closed window stays as it is."""
        with self._ledger.transaction(ACTOR) as tx:
            tx.session.get(store.PlanRow, window.endpoint, with_for_update=True)
            if tx.session.get(store.WindowRow, (window.endpoint, window.analysis.value, window.start)) is not None:
                return False
            tx.session.add(store.from_window(window, segment=segment, batch=batch))
            tx.session.flush()
            subject = f"{window.endpoint}/{window.analysis.value}@{iso(window.start)}"
            facts = {
                "end": window.end, "state": window.state.value, "reason": window.reason, "rows": window.rows, "version": window.version,
                "watermark": window.watermark, "reference": window.reference, "digest": digest("monitor-window", window.result),
            }  # fmt: skip
            tx.record("monitor.window.closed", subject, facts)
            alerts.apply_window(tx, window, names=names, severity=worst, resolve_after_ok=plan.resolve_after_ok)
            return True

    def _late_predictions(self, endpoint: str, until: int, after_segment: int | None, segment: int) -> str:
        """Say how many predictions from before an instant were ingested after the window that ends there was closed."""
        late = self._serving.predictions(endpoint, end=until, after_segment=after_segment, until_segment=segment, columns=["shadow"])
        count = len(late.filter(~pl.col("shadow")))
        return f"{count} predictions from before {iso(until)} came after that window was closed." if count else ""

    def _next_event(self, endpoint: str, after: int) -> int | None:
        times = self._serving.predictions(endpoint, start=after, columns=["event_time"])["event_time"]
        return int(times.to_numpy().min()) if len(times) else None


def _main_version(rows: pl.DataFrame) -> str:
    """Return the version that answered most of these rows; of two with the same number, the first by name."""
    counts = rows.group_by("version").len().sort("len", "version", descending=[True, False])
    return str(counts["version"][0])


def _history(windows: Sequence[Window]) -> Mapping[str, Sequence[bool]]:
    """Return for each feature whether it fired in these windows, oldest first."""
    found: dict[str, list[bool]] = {}
    for window in windows:
        for feature in window.result["features"]:
            found.setdefault(feature["name"], []).append(feature["fired"])
    return found


def _incomparable(reference: Reference, version: str, rows: int) -> Observation:
    return Observation(
        name=PREDICTION, kind="numeric", score=None, score_name="", noise_floor=0.0, p_value=None, calibration=None, distances=(),
        rows=rows, nulls=0,
        unseen=f"the reference {reference.id} holds predictions of {reference.source.version}, the window those of {version}",
    )  # fmt: skip


def _guilty_metrics(groups: Sequence[Group]) -> tuple[list[str], float]:
    """Return the alarming metrics of the main group, and by how much the worst exceeds its threshold."""
    guilty = [metric for group in groups if group.main for metric in group.metrics if metric.state is State.ALERT]
    over = [abs(metric.value) / metric.threshold for metric in guilty if metric.value is not None and metric.threshold]
    return [metric.name for metric in guilty], max(over, default=1.0 if guilty else 0.0)
