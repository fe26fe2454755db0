"""Closes runs whose client died: no write and no heartbeat for so long that nobody is there any more.

MLflow keeps no time of the last write, so it is kept here as a tag of the run, written at most once a minute: by whichever server process
sees the write, read by the one that leads. A run that turns out to be alive is opened again.
Imported by the loader only: it imports MLflow.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog
from mlflow.store.tracking.dbmodels.models import SqlRun, SqlTag
from sqlalchemy import and_, case, delete, exists, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from gateline.kernel.clock import MINUTE, SECOND, iso, parse_iso
from gateline.kernel.errors import InvalidInput, NotFound
from gateline.kernel.run_names import HEARTBEAT_TAG, LAST_WRITE_TAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection, Engine

    from gateline.adapters.mlflow.guard import Guard
    from gateline.kernel.clock import Clock, Instant

CLOSED_TAG = "gateline.closed"
_LOOKS = 5  # consecutive looks, a minute apart, that find the same silence: a clock that jumped ahead has runs speak up in between
_NOTED_MAX = 10_000
_MILLISECOND = 1_000

_runs, _tags = SqlRun.__table__.c, SqlTag.__table__.c
_closed_here = exists().where(_tags.run_uuid == _runs.run_uuid, _tags.key == CLOSED_TAG)
_under_way = or_(_runs.status == "RUNNING", and_(_runs.status == "KILLED", _closed_here))
_log = structlog.get_logger(__name__)


class Liveness:
    """When each run was last heard of, and the end of those that are silent for too long.

    Args:
        engine: MLflow's database.
        guard: Writes the ledger entry of a run that is closed.
        clock: Of the server; what clients say about time does not count.
        silent_seconds: Silence after which a run without heartbeat is closed.
        heartbeat_seconds: Silence after which a run that had a heartbeat is closed.
    """

    def __init__(self, engine: Engine, guard: Guard, clock: Clock, *, silent_seconds: float, heartbeat_seconds: float) -> None:
        self._engine = engine
        self._guard = guard
        self._clock = clock
        self._limits = {False: round(silent_seconds * SECOND), True: round(heartbeat_seconds * SECOND)}
        self._noted: dict[str, Instant] = {}
        self._looks: dict[str, tuple[str, int]] = {}

    def wrote(self, run_ids: Iterable[str]) -> None:
        """Note that runs were written, at most once a minute for each; a failure is logged, the write itself stands."""
        now, due = self._clock.now(), set()
        if len(self._noted) > _NOTED_MAX:
            self._noted.clear()
        for run_id in run_ids:
            if run_id not in self._noted or abs(now - self._noted[run_id]) >= MINUTE:
                self._noted[run_id] = now
                due.add(run_id)
        if due:
            try:
                self._note(due, LAST_WRITE_TAG, now)
            except SQLAlchemyError as error:
                _log.warning("mlflow.last_write_not_noted", runs=len(due), failure=str(error))

    def beat(self, run_id: str) -> bool:
        """Note a heartbeat and return whether the run is under way; one that was closed for its silence is opened again.

        Raises:
            NotFound: there is no such run.
        """
        if run_id in self._note({run_id}, HEARTBEAT_TAG, self._clock.now()):
            return True
        with self._engine.connect() as connection:
            if connection.scalar(select(_runs.run_uuid).where(_runs.run_uuid == run_id)) is None:
                raise NotFound(f"MLflow has no run {run_id}.", next_step="List runs with: gateline tracking list.")
        return False

    def ended(self, run_id: str) -> None:
        """Forget that the run was closed here: its client has said how it ended."""
        with self._writing() as connection:
            connection.execute(delete(SqlTag).where(_tags.run_uuid == run_id, _tags.key == CLOSED_TAG))

    def close_silent(self) -> list[str]:
        """Close the runs that five consecutive looks found silent for too long, and return them. Call it once a minute.

        The status becomes KILLED, the end is when the run was last heard of, and the tag `gateline.closed` says so. A running run that was
        never heard of counts as heard of now.
        """
        now = self._clock.now()
        seen = self._running()
        self._note({run_id for run_id, (text, _) in seen.items() if _age(text, now) is None}, LAST_WRITE_TAG, now)
        silent = {run_id: text for run_id, (text, beats) in seen.items() if (_age(text, now) or 0) >= self._limits[beats]}
        self._looks = {run_id: (text, self._looked(run_id, text) + 1) for run_id, text in silent.items()}
        return [run_id for run_id, (text, looks) in self._looks.items() if looks >= _LOOKS and self._close(run_id, text, now)]

    def _looked(self, run_id: str, text: str) -> int:
        before, looks = self._looks.get(run_id, ("", 0))
        return looks if before == text else 0

    def _running(self) -> dict[str, tuple[str, bool]]:
        """Return for each running run when it was last heard of, as text, and whether it has a heartbeat."""
        of_run = and_(_tags.run_uuid == _runs.run_uuid, _tags.key.in_((LAST_WRITE_TAG, HEARTBEAT_TAG)))
        query = (
            select(_runs.run_uuid, _tags.key, _tags.value)
            .select_from(SqlRun.__table__.outerjoin(SqlTag.__table__, of_run))
            .where(_runs.status == "RUNNING", _runs.lifecycle_stage == "active")
        )
        found: dict[str, tuple[str, bool]] = {}
        with self._engine.connect() as connection:
            for run_id, key, value in connection.execute(query):
                text, beats = found.get(run_id, ("", False))
                found[run_id] = max(text, value or ""), beats or key == HEARTBEAT_TAG
        return found

    def _note(self, run_ids: set[str], tag: str, now: Instant) -> set[str]:
        """Set the tag of those of the runs that are under way to now, open those that were closed here, and return them all."""
        if not run_ids:
            return set()
        with self._writing() as connection:
            mine = _runs.run_uuid.in_(run_ids)
            active = select(_runs.run_uuid).where(mine, _runs.lifecycle_stage == "active", _under_way)
            alive = set(connection.scalars(active))
            if alive:
                opened = update(SqlRun).where(_runs.run_uuid.in_(alive), _runs.status == "KILLED")
                connection.execute(opened.values(status="RUNNING", end_time=None))
                connection.execute(delete(SqlTag).where(_tags.run_uuid.in_(alive), _tags.key.in_((tag, CLOSED_TAG))))
                connection.execute(SqlTag.__table__.insert(), [{"run_uuid": one, "key": tag, "value": iso(now)} for one in sorted(alive)])
        return alive

    def _close(self, run_id: str, last: str, now: Instant) -> bool:
        """Close the run unless it was heard of since, or has ended."""
        ended = parse_iso(last) // _MILLISECOND
        heard = exists().where(_tags.run_uuid == run_id, _tags.key.in_((LAST_WRITE_TAG, HEARTBEAT_TAG)), _tags.value > last)
        close = update(SqlRun).where(_runs.run_uuid == run_id, _runs.status == "RUNNING", ~heard)
        values: dict[str, Any] = {"status": "KILLED", "end_time": case((_runs.start_time > ended, _runs.start_time), else_=ended)}
        with self._writing() as connection:
            if not connection.execute(close.values(values)).rowcount:
                return False
            says = f"KILLED at {iso(now)}: nothing was written and no heartbeat came since {last}"
            connection.execute(delete(SqlTag).where(_tags.run_uuid == run_id, _tags.key == CLOSED_TAG))
            connection.execute(SqlTag.__table__.insert(), {"run_uuid": run_id, "key": CLOSED_TAG, "value": says})
        self._guard.closed(run_id, last_heard_of=last)
        return True

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Open a transaction; on SQLite it takes the write lock before it reads."""
        with self._engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()


def _age(text: str, now: Instant) -> Instant | None:
    """Return how long ago a run was heard of; None when nobody knows, or when a clock was set back since."""
    try:
        heard = parse_iso(text)
    except InvalidInput:
        return None
    return None if heard > now + MINUTE else now - heard
