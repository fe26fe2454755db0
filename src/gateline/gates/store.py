"""The tables of gates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Index, Text, func, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.gates import rules
from gateline.gates.model import GateRun, PolicyRecord
from gateline.kernel.records import Row

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class PolicyRow(Row):
    """A policy and when it was first seen."""

    __tablename__ = "gate_policy"

    digest: Mapped[str] = mapped_column(Text, primary_key=True)
    document: Mapped[dict[str, Any]]
    recorded_at: Mapped[int]
    recorded_by: Mapped[str] = mapped_column(Text)


class GateRunRow(Row):
    """One gate run: what is searched for in columns, all of it in the document."""

    __tablename__ = "gate_run"
    __table_args__ = (Index("gate_run_request", "request_digest"), Index("gate_run_subject", "subject_digest", "frame"))

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    request_digest: Mapped[str] = mapped_column(Text)
    subject_digest: Mapped[str] = mapped_column(Text)
    frame: Mapped[str] = mapped_column(Text)
    policy_digest: Mapped[str] = mapped_column(Text)
    verdict: Mapped[str] = mapped_column(Text)
    shows_results: Mapped[bool]
    started_at: Mapped[int]
    finished_at: Mapped[int] = mapped_column(BigInteger, index=True)
    created_by: Mapped[str] = mapped_column(Text)
    document: Mapped[dict[str, Any]]
    envelope: Mapped[dict[str, Any]]


def policy(session: Session, digest: str) -> PolicyRecord | None:
    """Return a recorded policy, or None."""
    row = session.get(PolicyRow, digest)
    return None if row is None else to_policy(row)


def to_policy(row: PolicyRow) -> PolicyRecord:
    """Return the domain value of a row."""
    return PolicyRecord(digest=row.digest, document=row.document, recorded_at=row.recorded_at, recorded_by=row.recorded_by)


def first_look(session: Session, subject_digest: str, frame: str) -> int | None:
    """Return when the first gate run began that showed how this model does on these rows; None when none has."""
    query = select(func.min(GateRunRow.started_at)).where(
        GateRunRow.subject_digest == subject_digest, GateRunRow.frame == frame, GateRunRow.shows_results.is_(True)
    )
    return session.scalar(query)


def by_request(session: Session, request_digest: str) -> GateRun | None:
    """Return the newest run of an equal request, or None."""
    query = select(GateRunRow).where(GateRunRow.request_digest == request_digest)
    row = session.scalars(query.order_by(GateRunRow.finished_at.desc(), GateRunRow.id.desc()).limit(1)).first()
    return None if row is None else to_run(row)


def runs(session: Session, *, subject_digest: str = "", limit: int = 100) -> list[GateRun]:
    """Return runs, newest first, optionally of one model."""
    query = select(GateRunRow).order_by(GateRunRow.finished_at.desc(), GateRunRow.id.desc()).limit(limit)
    if subject_digest:
        query = query.where(GateRunRow.subject_digest == subject_digest)
    return [to_run(row) for row in session.scalars(query)]


def to_run(row: GateRunRow) -> GateRun:
    """Return the domain value of a row."""
    return GateRun.from_dict({**row.document, "envelope": row.envelope})


def from_run(run: GateRun) -> GateRunRow:
    """Return the row of a run."""
    return GateRunRow(
        id=run.id, request_digest=run.request_digest, subject_digest=run.subject_digest, frame=run.frame,
        policy_digest=run.policy_digest, verdict=run.verdict.value,
        shows_results=rules.shows_results(run.results), started_at=run.started_at, finished_at=run.finished_at,
        created_by=run.created_by, document=run.content(), envelope=run.envelope,
    )  # fmt: skip
