"""The tables of feature parity, and the queries on them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Boolean, Index, Text, func, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.records import Row
from gateline.monitoring.model import State
from gateline.monitoring.parity_model import FeatureParity, ParityRun, RequestCounts

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class ParityPlanRow(Row):
    """The parity plan of one endpoint, and where its next day begins (unknown before the first prediction)."""

    __tablename__ = "parity_plan"

    endpoint: Mapped[str] = mapped_column(Text, primary_key=True)
    plan: Mapped[dict[str, Any]]
    created_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)
    next_start: Mapped[int | None] = mapped_column(BigInteger, default=None)


class ParityRunRow(Row):
    """One comparison of an interval; the key makes each revision happen once."""

    __tablename__ = "parity_run"
    __table_args__ = (Index("parity_run_inputs", "endpoint", "inputs"),)

    endpoint: Mapped[str] = mapped_column(Text, primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    end: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    daily: Mapped[bool] = mapped_column(Boolean)
    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)
    feature_set: Mapped[str] = mapped_column(Text)
    dataset_versions: Mapped[dict[str, Any]]
    counts: Mapped[dict[str, Any]]
    features: Mapped[list[Any]]
    not_computed: Mapped[list[Any]]
    not_served: Mapped[list[Any]]
    plan: Mapped[dict[str, Any]]
    inputs: Mapped[str] = mapped_column(Text)
    watermark: Mapped[int]
    finished_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)


def to_run(row: ParityRunRow) -> ParityRun:
    """Return the domain value of a row."""
    return ParityRun(
        endpoint=row.endpoint, start=row.start, end=row.end, revision=row.revision, daily=row.daily, state=State(row.state),
        reason=row.reason, version=row.version, feature_set=row.feature_set, dataset_versions=row.dataset_versions,
        counts=RequestCounts(**row.counts), features=tuple(FeatureParity.from_dict(one) for one in row.features),
        not_computed=tuple(row.not_computed), not_served=tuple(row.not_served), plan=row.plan, inputs=row.inputs,
        watermark=row.watermark, finished_at=row.finished_at, created_by=row.created_by,
    )  # fmt: skip


def from_run(run: ParityRun) -> ParityRunRow:
    """Return the row of a run."""
    return ParityRunRow(
        endpoint=run.endpoint, start=run.start, end=run.end, revision=run.revision, daily=run.daily, state=run.state.value,
        reason=run.reason, version=run.version, feature_set=run.feature_set, dataset_versions=dict(run.dataset_versions),
        counts=asdict(run.counts), features=[one.as_dict() for one in run.features], not_computed=list(run.not_computed),
        not_served=list(run.not_served), plan=dict(run.plan), inputs=run.inputs, watermark=run.watermark, finished_at=run.finished_at,
        created_by=run.created_by,
    )  # fmt: skip


def plans(session: Session) -> list[ParityPlanRow]:
    """Return the plan of every endpoint that has one, by name."""
    return list(session.scalars(select(ParityPlanRow).order_by(ParityPlanRow.endpoint)))


def by_inputs(session: Session, endpoint: str, inputs: str) -> ParityRun | None:
    """Return the run with exactly these inputs, which the interval is part of."""
    query = select(ParityRunRow).where(ParityRunRow.endpoint == endpoint, ParityRunRow.inputs == inputs)
    row = session.scalars(query.order_by(ParityRunRow.revision.desc()).limit(1)).first()
    return None if row is None else to_run(row)


def newest_revision(session: Session, endpoint: str, start: int, end: int) -> int:
    """Return the newest revision of an interval; 0 when it has none."""
    table = ParityRunRow
    query = select(func.max(table.revision)).where(table.endpoint == endpoint, table.start == start, table.end == end)
    return session.scalar(query) or 0


def newest_daily(session: Session, endpoint: str) -> ParityRun | None:
    """Return the newest revision of the newest day; None before the first."""
    table = ParityRunRow
    query = select(table).where(table.endpoint == endpoint, table.daily)
    row = session.scalars(query.order_by(table.end.desc(), table.start.desc(), table.revision.desc()).limit(1)).first()
    return None if row is None else to_run(row)


def ok_streak(session: Session, endpoint: str, version: str, length: int) -> int:
    """Return how many days in a row, the newest first and each by its newest revision, were `ok` for this model version."""
    table, streak, seen = ParityRunRow, 0, set[tuple[int, int]]()
    query = select(table.start, table.end, table.state, table.version).where(table.endpoint == endpoint, table.daily)
    for start, end, state, answered in session.execute(query.order_by(table.end.desc(), table.start.desc(), table.revision.desc())):
        if (start, end) in seen:
            continue
        seen.add((start, end))
        if streak >= length or state != State.OK or answered != version:
            break
        streak += 1
    return streak


def runs(session: Session, endpoint: str, *, limit: int) -> list[ParityRun]:
    """Return the runs of an endpoint, the newest interval and revision first."""
    table = ParityRunRow
    query = select(table).where(table.endpoint == endpoint).order_by(table.end.desc(), table.start.desc(), table.revision.desc())
    return [to_run(row) for row in session.scalars(query.limit(limit))]
