"""The tables of monitoring, and the queries on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Double, Index, Integer, Text, UniqueConstraint, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.records import Row
from gateline.monitoring.joining import label_keys
from gateline.monitoring.model import Alert, AlertState, Analysis, LabelRow, Reference, ReferenceSource, State, Window
from gateline.monitoring.parity_store import ParityPlanRow, ParityRunRow  # noqa: F401 - whoever loads the store has every table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl
    from sqlalchemy.orm import Session

    from gateline.monitoring.labels import Changes

_KEYS_PER_QUERY = 10_000
_BIG_ID = BigInteger().with_variant(Integer, "sqlite")


class PlanRow(Row):
    """The monitor of one endpoint: its plan, and where its windows begin (unknown before the first prediction)."""

    __tablename__ = "monitor_plan"

    endpoint: Mapped[str] = mapped_column(Text, primary_key=True)
    plan: Mapped[dict[str, Any]]
    created_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)
    origin: Mapped[int | None] = mapped_column(BigInteger, default=None)


class ReferenceRow(Row):
    """One recorded reference; the newest of a version is used."""

    __tablename__ = "monitor_reference"

    endpoint: Mapped[str] = mapped_column(Text, primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    version: Mapped[str] = mapped_column(Text)
    source: Mapped[dict[str, Any]]
    profile: Mapped[str] = mapped_column(Text)
    summary: Mapped[dict[str, Any]]
    created_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)


class WindowRow(Row):
    """One closed window of one analysis; the key makes closing happen once."""

    __tablename__ = "monitor_window"

    endpoint: Mapped[str] = mapped_column(Text, primary_key=True)
    analysis: Mapped[str] = mapped_column(Text, primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    end: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[str] = mapped_column(Text)
    rows: Mapped[int]
    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text)
    watermark: Mapped[int]
    segment: Mapped[int]
    batch: Mapped[int]
    result: Mapped[dict[str, Any]]
    closed_at: Mapped[int]
    reference: Mapped[str | None] = mapped_column(Text, default=None)


class AlertRow(Row):
    """One alert with its life."""

    __tablename__ = "monitor_alert"
    __table_args__ = (Index("monitor_alert_endpoint", "endpoint", "kind", "state"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    endpoint: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    first_window_start: Mapped[int]
    last_window_start: Mapped[int]
    last_window_end: Mapped[int]
    windows: Mapped[int]
    names: Mapped[list[Any]]
    severity: Mapped[float] = mapped_column(Double)
    reason: Mapped[str] = mapped_column(Text)
    opened_at: Mapped[int]
    acknowledged_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    acknowledged_by: Mapped[str] = mapped_column(Text, default="")
    resolved_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    resolved_by: Mapped[str] = mapped_column(Text, default="")
    comment: Mapped[str] = mapped_column(Text, default="")


class LabelStreamRow(Row):
    """The labels of one endpoint in sum; writers of one endpoint take turns on this row."""

    __tablename__ = "label_stream"

    endpoint: Mapped[str] = mapped_column(Text, primary_key=True)
    labels: Mapped[int]
    batch: Mapped[int]
    watermark: Mapped[int | None] = mapped_column(BigInteger, default=None)


class LabelBatchRow(Row):
    """One batch that changed something; batches of an endpoint count from 1."""

    __tablename__ = "label_batch"

    endpoint: Mapped[str] = mapped_column(Text, primary_key=True)
    batch: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    rows: Mapped[int]
    recorded: Mapped[int]
    corrected: Mapped[int]
    digest: Mapped[str] = mapped_column(Text)
    received_at: Mapped[int]
    received_by: Mapped[str] = mapped_column(Text)


class PredictionLabelRow(Row):
    """The label on record for one request or prediction."""

    __tablename__ = "prediction_label"
    __table_args__ = (Index("prediction_label_batch", "endpoint", "batch"),)

    endpoint: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    label: Mapped[float] = mapped_column(Double)
    event_time: Mapped[int]
    batch: Mapped[int]


class LabelCorrectionRow(Row):
    """A label that a newer one replaced."""

    __tablename__ = "label_correction"
    __table_args__ = (UniqueConstraint("endpoint", "key", "event_time", name="label_correction_once"),)

    id: Mapped[int] = mapped_column(_BIG_ID, primary_key=True, init=False)
    endpoint: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    label: Mapped[float] = mapped_column(Double)
    event_time: Mapped[int]
    replaced_in_batch: Mapped[int]


def lock_stream(session: Session, endpoint: str) -> LabelStreamRow:
    """Return the endpoint's label stream, made when missing, held until the transaction ends."""
    make = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(make(LabelStreamRow).values(endpoint=endpoint, labels=0, batch=0).on_conflict_do_nothing())
    return session.scalars(select(LabelStreamRow).where(LabelStreamRow.endpoint == endpoint).with_for_update()).one()


def label_watermark(session: Session, endpoint: str) -> int | None:
    """Return the newest event time of a label; None without labels."""
    return session.scalar(select(LabelStreamRow.watermark).where(LabelStreamRow.endpoint == endpoint))


def label_batch(session: Session, endpoint: str) -> int:
    """Return the number of the newest batch; 0 before the first."""
    return session.scalar(select(LabelStreamRow.batch).where(LabelStreamRow.endpoint == endpoint)) or 0


def read_labels(session: Session, endpoint: str, keys: Sequence[str]) -> Iterator[tuple[str, float, int]]:
    """Yield (key, label, event_time) of the labels on record for these keys."""
    table = PredictionLabelRow
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        some = keys[start : start + _KEYS_PER_QUERY]
        query = select(table.key, table.label, table.event_time).where(table.endpoint == endpoint, table.key.in_(some))
        yield from ((key, label, event_time) for key, label, event_time in session.execute(query))


def apply_changes(session: Session, endpoint: str, changes: Changes, batch: int, known: Mapping[str, LabelRow]) -> None:
    """Write what a batch changes; replaced labels are kept as corrections."""
    fresh: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for key, row in changes.current.items():
        (changed if key in known else fresh).append({"key": key, "label": row.label, "event_time": row.event_time})
    if fresh:
        session.execute(insert(PredictionLabelRow), [{"endpoint": endpoint, "batch": batch, **row} for row in fresh])
    if changed:
        session.execute(update(PredictionLabelRow), [{"endpoint": endpoint, "batch": batch, **row} for row in changed])
    if changes.replaced:
        session.execute(
            insert(LabelCorrectionRow),
            [
                {"endpoint": endpoint, "key": row.key, "label": row.label, "event_time": row.event_time, "replaced_in_batch": batch}
                for row in changes.replaced
            ],
        )


def newer_label_keys(session: Session, endpoint: str, *, after_batch: int, before: int) -> list[str]:
    """Return the keys of labels that came after a batch although they became known before an instant."""
    table = PredictionLabelRow
    query = select(table.key).where(table.endpoint == endpoint, table.batch > after_batch, table.event_time < before)
    return list(session.scalars(query))


def labels_for(session: Session, endpoint: str, predictions: pl.DataFrame) -> list[tuple[str, float, int]]:
    """Return (key, label, event_time) of the labels on record for these predictions.

    By keys, or in one scan of the endpoint's labels where that is less to ask for; a scan may return more than was asked for.
    """
    total = session.scalar(select(LabelStreamRow.labels).where(LabelStreamRow.endpoint == endpoint)) or 0
    if not total or not len(predictions):
        return []
    if total <= 2 * len(predictions):
        table = PredictionLabelRow
        query = select(table.key, table.label, table.event_time).where(table.endpoint == endpoint)
        return [(key, label, event_time) for key, label, event_time in session.execute(query)]
    return list(read_labels(session, endpoint, label_keys(predictions)))


def all_label_keys(session: Session, endpoint: str) -> list[str]:
    """Return the keys of all labels on record."""
    return list(session.scalars(select(PredictionLabelRow.key).where(PredictionLabelRow.endpoint == endpoint)))


def corrections(session: Session, endpoint: str, key: str) -> list[LabelRow]:
    """Return the labels that were replaced for a key, oldest first."""
    table = LabelCorrectionRow
    query = select(table).where(table.endpoint == endpoint, table.key == key).order_by(table.event_time)
    return [LabelRow(key=row.key, label=row.label, event_time=row.event_time) for row in session.scalars(query)]


def references(session: Session, endpoint: str) -> list[Reference]:
    """Return the references of an endpoint, newest first."""
    query = select(ReferenceRow).where(ReferenceRow.endpoint == endpoint).order_by(ReferenceRow.revision.desc())
    return [
        Reference(
            id=f"{row.endpoint}/reference@{row.revision}", endpoint=row.endpoint, revision=row.revision,
            source=ReferenceSource(**row.source), profile=row.profile, summary=row.summary, created_at=row.created_at,
            created_by=row.created_by,
        )
        for row in session.scalars(query)
    ]  # fmt: skip


def plans(session: Session) -> list[tuple[str, dict[str, Any], int | None]]:
    """Return (endpoint, plan, origin) of every watched endpoint."""
    found = session.execute(select(PlanRow.endpoint, PlanRow.plan, PlanRow.origin).order_by(PlanRow.endpoint))
    return [(endpoint, plan, origin) for endpoint, plan, origin in found]


def last_window(session: Session, endpoint: str, analysis: Analysis) -> WindowRow | None:
    """Return the newest closed window of an analysis."""
    query = select(WindowRow).where(WindowRow.endpoint == endpoint, WindowRow.analysis == analysis.value)
    return session.scalars(query.order_by(WindowRow.start.desc()).limit(1)).first()


def next_for_performance(session: Session, endpoint: str, after: int | None) -> WindowRow | None:
    """Return the oldest window that was closed for drift and begins after the newest one closed for performance."""
    query = select(WindowRow).where(WindowRow.endpoint == endpoint, WindowRow.analysis == Analysis.DRIFT.value)
    if after is not None:
        query = query.where(WindowRow.start > after)
    return session.scalars(query.order_by(WindowRow.start).limit(1)).first()


def to_window(row: WindowRow) -> Window:
    """Return the domain value of a row."""
    return Window(
        endpoint=row.endpoint, analysis=Analysis(row.analysis), start=row.start, end=row.end, version=row.version, rows=row.rows,
        state=State(row.state), reason=row.reason, note=row.note, watermark=row.watermark, reference=row.reference, result=row.result,
        closed_at=row.closed_at,
    )  # fmt: skip


def from_window(window: Window, *, segment: int, batch: int) -> WindowRow:
    """Return the row of a closed window, with the newest segment and label batch it could see."""
    return WindowRow(
        endpoint=window.endpoint, analysis=window.analysis.value, start=window.start, end=window.end, version=window.version,
        rows=window.rows, state=window.state.value, reason=window.reason, note=window.note, watermark=window.watermark, segment=segment,
        batch=batch, reference=window.reference, result=window.result, closed_at=window.closed_at,
    )  # fmt: skip


def windows(session: Session, endpoint: str, *, analysis: Analysis | None = None, start: int | None = None, limit: int) -> list[Window]:
    """Return closed windows from an instant on, in order of time; without one, the newest `limit` of them."""
    query = select(WindowRow).where(WindowRow.endpoint == endpoint)
    if analysis is not None:
        query = query.where(WindowRow.analysis == analysis.value)
    if start is not None:
        return [to_window(row) for row in session.scalars(query.where(WindowRow.start >= start).order_by(*_ORDER).limit(limit))]
    newest = query.order_by(WindowRow.start.desc(), WindowRow.analysis.desc()).limit(limit)
    return [to_window(row) for row in reversed(session.scalars(newest).all())]


_ORDER = (WindowRow.start, WindowRow.analysis)


def to_alert(row: AlertRow) -> Alert:
    """Return the domain value of a row."""
    return Alert(
        id=row.id, endpoint=row.endpoint, kind=Analysis(row.kind), version=row.version, state=AlertState(row.state),
        first_window_start=row.first_window_start, last_window_start=row.last_window_start, last_window_end=row.last_window_end,
        windows=row.windows, names=tuple(row.names), severity=row.severity, reason=row.reason, opened_at=row.opened_at,
        acknowledged_at=row.acknowledged_at, acknowledged_by=row.acknowledged_by, resolved_at=row.resolved_at,
        resolved_by=row.resolved_by, comment=row.comment,
    )  # fmt: skip


def alerts(session: Session, *, endpoint: str = "", unresolved: bool = False, limit: int) -> list[Alert]:
    """Return alerts, newest first."""
    query = select(AlertRow)
    if endpoint:
        query = query.where(AlertRow.endpoint == endpoint)
    if unresolved:
        query = query.where(AlertRow.state != AlertState.RESOLVED.value)
    return [to_alert(row) for row in session.scalars(query.order_by(AlertRow.opened_at.desc(), AlertRow.id.desc()).limit(limit))]


def unresolved_alert(session: Session, endpoint: str, kind: Analysis) -> AlertRow | None:
    """Return the alert of this kind that is open or acknowledged; there is at most one."""
    query = select(AlertRow).where(AlertRow.endpoint == endpoint, AlertRow.kind == kind.value, AlertRow.state != AlertState.RESOLVED.value)
    return session.scalars(query.with_for_update()).one_or_none()
