"""The tables of searches: what each trial is tried with, and what it reported."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Double, Index, Text, and_, delete, func, or_, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.records import Row
from gateline.pipelines.model import StepState
from gateline.pipelines.search_model import TrialState
from gateline.pipelines.store import StepRunRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

MAKING = "?"
"""The MLflow run of a trial for which one is being made."""


class TrialRow(Row):
    """A trial that was asked for. `pending` is 1 while something of it has not been shown outside."""

    __tablename__ = "search_trial"
    __table_args__ = (Index("search_trial_key", "key"), Index("search_trial_pending", "pending"))

    run_id: Mapped[str] = mapped_column(Text, primary_key=True)
    node: Mapped[str] = mapped_column(Text, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(Text)
    parameters: Mapped[dict[str, Any]]
    asked_at: Mapped[int]
    state: Mapped[str] = mapped_column(Text, default=TrialState.RUNNING)
    value: Mapped[float | None] = mapped_column(Double, default=None)
    failure: Mapped[str] = mapped_column(Text, default="")
    attempt: Mapped[int] = mapped_column(BigInteger, default=0)
    ended_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    mlflow_run_id: Mapped[str] = mapped_column(Text, default="")
    pending: Mapped[int] = mapped_column(BigInteger, default=1)


class TrialValueRow(Row):
    """A value that a trial reported at a step; NaN is kept as nothing."""

    __tablename__ = "search_trial_value"

    run_id: Mapped[str] = mapped_column(Text, primary_key=True)
    node: Mapped[str] = mapped_column(Text, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    value: Mapped[float | None] = mapped_column(Double)
    reported_at: Mapped[int]
    shown: Mapped[int] = mapped_column(BigInteger, default=0)


def items_of_search(session: Session, run_id: str, node: str) -> list[StepRunRow]:
    """Return the steps that carry out the trials of a search, by number."""
    query = select(StepRunRow).where(StepRunRow.run_id == run_id, StepRunRow.node == node, StepRunRow.index >= 0)
    return list(session.scalars(query.order_by(StepRunRow.index)))


def trials_of(session: Session, run_id: str, node: str) -> dict[int, TrialRow]:
    """Return the trials of a search by number: those that this run asked for, and those of other runs that it reuses."""
    reused = _reused(StepRunRow.run_id == run_id, StepRunRow.node == node)
    query = select(StepRunRow.index, TrialRow).select_from(StepRunRow).join(TrialRow, reused)
    found: dict[int, TrialRow] = dict(session.execute(query).all())
    own = select(TrialRow).where(TrialRow.run_id == run_id, TrialRow.node == node)
    return found | {row.number: row for row in session.scalars(own)}


def last_values(session: Session, rows: Iterable[TrialRow]) -> dict[tuple[str, str, int], TrialValueRow]:
    """Return for each of the trials that reported anything the value of its last step."""
    wanted = {(row.run_id, row.node, row.number) for row in rows}
    found: dict[tuple[str, str, int], TrialValueRow] = {}
    for run_id, node in {(run_id, node) for run_id, node, _ in wanted}:
        places = (TrialValueRow.run_id == run_id, TrialValueRow.node == node)
        newest = select(TrialValueRow.number, func.max(TrialValueRow.step).label("step")).where(*places).group_by(TrialValueRow.number)
        last = newest.subquery()
        query = select(TrialValueRow).join(last, and_(TrialValueRow.number == last.c.number, TrialValueRow.step == last.c.step))
        found |= {(row.run_id, row.node, row.number): row for row in session.scalars(query.where(*places))}
    return {place: row for place, row in found.items() if place in wanted}


def values_at(session: Session, run_id: str, node: str, step: int) -> tuple[int, list[float]]:
    """Return how many trials of a search are complete, and the values that those reported at a step."""
    complete = and_(StepRunRow.run_id == run_id, StepRunRow.node == node, StepRunRow.state == StepState.SUCCEEDED)
    own = and_(StepRunRow.reused_from == "", TrialRow.run_id == run_id, TrialRow.node == node, TrialRow.number == StepRunRow.index)
    query = select(TrialRow.run_id, TrialRow.node, TrialRow.number).join(StepRunRow, or_(own, _reused()))
    tried = query.where(complete, TrialRow.state == TrialState.COMPLETE).subquery()
    same = and_(TrialValueRow.run_id == tried.c.run_id, TrialValueRow.node == tried.c.node, TrialValueRow.number == tried.c.number)
    values = session.scalars(select(TrialValueRow.value).join(tried, same).where(TrialValueRow.step == step))
    count = session.scalar(select(func.count()).select_from(tried)) or 0
    return count, [math.nan if value is None else value for value in values]


def failed_trials(session: Session, run_id: str, node: str) -> int:
    """Return how many trials of a search have failed."""
    query = select(func.count()).select_from(TrialRow)
    return session.scalar(query.where(TrialRow.run_id == run_id, TrialRow.node == node, TrialRow.state == TrialState.FAILED)) or 0


def forget_values(session: Session, row: TrialRow) -> None:
    """Drop what an attempt reported that did not come to an end."""
    session.execute(delete(TrialValueRow).where(*_values_of(row)))


def reported(session: Session, row: TrialRow) -> int:
    """Return at how many steps a trial has reported."""
    return session.scalar(select(func.count()).select_from(TrialValueRow).where(*_values_of(row))) or 0


def values_to_show(session: Session, row: TrialRow) -> list[TrialValueRow]:
    """Return what a trial reported that has not been shown outside."""
    return list(session.scalars(select(TrialValueRow).where(*_values_of(row), TrialValueRow.shown == 0).order_by(TrialValueRow.step)))


def pending_trials(session: Session, limit: int) -> list[TrialRow]:
    """Return trials of which something has not been shown outside, oldest first."""
    query = select(TrialRow).where(TrialRow.pending == 1).order_by(TrialRow.asked_at, TrialRow.number)
    return list(session.scalars(query.limit(limit)))


def _values_of(row: TrialRow) -> tuple[ColumnElement[bool], ...]:
    return TrialValueRow.run_id == row.run_id, TrialValueRow.node == row.node, TrialValueRow.number == row.number


def _reused(*where: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a step reuses the result of a trial."""
    return and_(*where, StepRunRow.reused_from != "", TrialRow.run_id == StepRunRow.reused_from, TrialRow.key == StepRunRow.key)
