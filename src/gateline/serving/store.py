"""The tables of serving and their queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Float, Index, Integer, Text, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.records import Row
from gateline.serving.model import Endpoint, Environment, FeatureKind, FeatureSpec, PredictionSegment, Route, RouteArm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session


class EndpointRow(Row):
    __tablename__ = "endpoint"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    model: Mapped[str] = mapped_column(Text)
    environment: Mapped[str] = mapped_column(Text)
    features: Mapped[list[Any]]
    latency_ms_p99: Mapped[float] = mapped_column(Float)
    generation: Mapped[int]
    created_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)


class RouteRow(Row):
    __tablename__ = "endpoint_route"

    endpoint: Mapped[str] = mapped_column(Text, primary_key=True)
    generation: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    salt: Mapped[str] = mapped_column(Text)
    arms: Mapped[list[Any]]
    shadow: Mapped[list[Any]]
    published_at: Mapped[int]
    published_by: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)


class SegmentRow(Row):
    __tablename__ = "prediction_segment"
    __table_args__ = (Index("prediction_segment_endpoint", "endpoint", "id"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, init=False)
    endpoint: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text, unique=True)
    sha256: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int]
    record_count: Mapped[int]
    min_event_time: Mapped[int]
    max_event_time: Mapped[int]
    min_prediction_id: Mapped[str] = mapped_column(Text)
    max_prediction_id: Mapped[str] = mapped_column(Text)
    sources: Mapped[list[Any]]
    created_at: Mapped[int]


class LogPositionRow(Row):
    """How far a worker's log file has been read: everything before `offset` lies in a segment."""

    __tablename__ = "prediction_log_position"

    endpoint: Mapped[str] = mapped_column(Text, primary_key=True)
    file: Mapped[str] = mapped_column(Text, primary_key=True)
    offset: Mapped[int] = mapped_column("read_offset", BigInteger)
    next_sequence: Mapped[int]
    finished: Mapped[bool]


def to_endpoint(row: EndpointRow) -> Endpoint:
    """Return the endpoint of a row."""
    return Endpoint(
        name=row.name, model=row.model, environment=Environment(row.environment),
        features=tuple(FeatureSpec(name=one["name"], kind=FeatureKind(one["kind"])) for one in row.features),
        latency_ms_p99=row.latency_ms_p99, generation=row.generation, created_at=row.created_at, created_by=row.created_by,
    )  # fmt: skip


def _to_arm(arm: dict[str, Any]) -> RouteArm:
    return RouteArm(name=arm["name"], version=arm["version"], weight=arm["weight"], form=arm["form"])


def to_route(row: RouteRow) -> Route:
    """Return the route of a row."""
    return Route(
        endpoint=row.endpoint, generation=row.generation, salt=row.salt, arms=tuple(_to_arm(arm) for arm in row.arms),
        shadow=tuple(_to_arm(arm) for arm in row.shadow), published_at=row.published_at, published_by=row.published_by, reason=row.reason,
    )  # fmt: skip


def to_segment(row: SegmentRow) -> PredictionSegment:
    """Return the segment of a row."""
    return PredictionSegment(
        id=row.id, endpoint=row.endpoint, path=row.path, sha256=row.sha256, size_bytes=row.size_bytes, record_count=row.record_count,
        min_event_time=row.min_event_time, max_event_time=row.max_event_time, min_prediction_id=row.min_prediction_id,
        max_prediction_id=row.max_prediction_id, sources=tuple(row.sources), created_at=row.created_at,
    )  # fmt: skip


def endpoints(session: Session) -> list[Endpoint]:
    """Return every endpoint by name."""
    return [to_endpoint(row) for row in session.scalars(select(EndpointRow).order_by(EndpointRow.name))]


def routes(session: Session, endpoint: str) -> list[Route]:
    """Return every route of an endpoint, oldest first."""
    query = select(RouteRow).where(RouteRow.endpoint == endpoint).order_by(RouteRow.generation)
    return [to_route(row) for row in session.scalars(query)]


def positions(session: Session, endpoint: str) -> dict[str, LogPositionRow]:
    """Return how far each log file of an endpoint has been read, by file name."""
    return {row.file: row for row in session.scalars(select(LogPositionRow).where(LogPositionRow.endpoint == endpoint))}


def segments(
    session: Session, endpoint: str, *, after: int | None = None, until: int | None = None, start: int | None = None, end: int | None = None
) -> list[PredictionSegment]:
    """Return the segments of an endpoint in order, with ids in (after, until] and event times that overlap [start, end)."""
    query = select(SegmentRow).where(SegmentRow.endpoint == endpoint).order_by(SegmentRow.id)
    if after is not None:
        query = query.where(SegmentRow.id > after)
    if until is not None:
        query = query.where(SegmentRow.id <= until)
    if start is not None:
        query = query.where(SegmentRow.max_event_time >= start)
    if end is not None:
        query = query.where(SegmentRow.min_event_time < end)
    return [to_segment(row) for row in session.scalars(query)]


def segment_files(session: Session, endpoint: str) -> set[str]:
    """Return the names of the recorded Parquet files of an endpoint."""
    return {path.rpartition("/")[2] for path in session.scalars(select(SegmentRow.path).where(SegmentRow.endpoint == endpoint))}


def segments_with(session: Session, prediction_id: str) -> Sequence[PredictionSegment]:
    """Return the segments, of any endpoint, whose range of ids holds this one."""
    query = select(SegmentRow).where(SegmentRow.min_prediction_id <= prediction_id, SegmentRow.max_prediction_id >= prediction_id)
    return [to_segment(row) for row in session.scalars(query.order_by(SegmentRow.id))]
