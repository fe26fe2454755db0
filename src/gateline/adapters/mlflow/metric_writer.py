"""Writes metric values into MLflow's own tables, many requests in one transaction.

It leaves the rows that MLflow's store would leave: a value that is there already is not written twice, NaN is stored as 0 with its flag,
and the latest value of a metric is the greatest by (step, timestamp, stored value), the first one on a tie.
Imported by the loader only: it imports MLflow.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlRun
from sqlalchemy import bindparam, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from gateline.kernel.errors import GatelineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

    from gateline.adapters.mlflow.seal import RunSeal

_log = structlog.get_logger(__name__)
_RUNS = SqlRun.__table__.c
_ACTIVE = select(_RUNS.run_uuid).where(_RUNS.run_uuid.in_(bindparam("run_ids", expanding=True)), _RUNS.lifecycle_stage == "active")
_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Point(NamedTuple):
    """One value of a metric as MLflow stores it: NaN is 0 with its flag set, an infinity the greatest or least finite number.

    `timestamp` is in milliseconds since 1970 UTC.
    """

    key: str
    value: float
    timestamp: int
    step: int
    is_nan: bool

    @property
    def rank(self) -> tuple[int, int, float]:
        """What the latest value of a metric is the greatest by."""
        return self.step, self.timestamp, self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricWrite:
    """The values that one request logs to one run, in its order."""

    run_id: str
    points: tuple[Point, ...]


class _Pending:
    """A write that waits for its transaction; `done` is None until then."""

    __slots__ = ("done", "write")

    def __init__(self, write: MetricWrite) -> None:
        self.write = write
        self.done: bool | None = None


class MetricWriter:
    """Commits metric values of concurrent requests together.

    Whoever comes while a transaction is under way waits, and the first of those who waited commits for all of them. A group is at most
    what the server's threads hold: 40 requests of 1,000 values.

    Args:
        engine: MLflow's database: SQLite or PostgreSQL.
        seal: Tells which runs may still be written.
    """

    def __init__(self, engine: Engine, seal: RunSeal) -> None:
        self._engine = engine
        self._seal = seal
        self._waiting: list[_Pending] = []
        self._arriving = threading.Lock()
        self._committing = threading.Lock()
        self._insert = _INSERTS[engine.dialect.name]
        self._insert_points = self._insert(SqlMetric.__table__).on_conflict_do_nothing()
        self._move_latest = self._latest_statement()

    @staticmethod
    def supports(engine: Engine) -> bool:
        """Return whether the writer knows this database."""
        return engine.dialect.name in _INSERTS

    def write(self, write: MetricWrite) -> bool:
        """Return True once the values are committed, and False when nothing was written: MLflow's own code must then answer.

        Nothing is written for a run that is unknown, deleted, frozen or being frozen, and when the database refuses the transaction.
        """
        mine = _Pending(write)
        with self._arriving:
            self._waiting.append(mine)
        with self._committing:
            if mine.done is None:
                with self._arriving:
                    group, self._waiting = self._waiting, []
                self._commit(group)
        return mine.done is True

    def _commit(self, group: list[_Pending]) -> None:
        written: set[str] = set()
        try:
            with self._seal.writing_some({one.write.run_id for one in group}) as free, self._engine.connect() as connection:
                if connection.dialect.name == "sqlite":
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                active = _active(connection, free)
                self._store(connection, [one.write for one in group if one.write.run_id in active])
                connection.commit()
                written = active
        except (SQLAlchemyError, GatelineError) as error:
            _log.warning("mlflow.metrics_not_grouped", requests=len(group), failure=str(error.__cause__ or error))
        finally:
            for one in group:
                one.done = one.write.run_id in written

    def _store(self, connection: Connection, writes: Sequence[MetricWrite]) -> None:
        rows: list[dict[str, Any]] = []
        latest: dict[tuple[str, str], Point] = {}
        for write in writes:
            for point in write.points:
                rows.append({"run_uuid": write.run_id, **point._asdict()})
                before = latest.get((write.run_id, point.key))
                if before is None or point.rank > before.rank:
                    latest[write.run_id, point.key] = point
        if rows:
            connection.execute(self._insert_points, rows)
            # rows are locked in one order, that of MLflow's own code, so that two servers on one PostgreSQL cannot wait for each other
            connection.execute(self._move_latest, [{"run_uuid": run_id, **latest[run_id, key]._asdict()} for run_id, key in sorted(latest)])

    def _latest_statement(self) -> Any:
        """Return the statement that makes a value the latest one of its metric when it ranks above the one stored."""
        statement = self._insert(SqlLatestMetric.__table__)
        table, new = SqlLatestMetric.__table__.c, statement.excluded
        return statement.on_conflict_do_update(
            index_elements=[table.key, table.run_uuid],
            set_={"value": new.value, "timestamp": new.timestamp, "step": new.step, "is_nan": new.is_nan},
            where=tuple_(new.step, new.timestamp, new.value) > tuple_(table.step, table.timestamp, table.value),
        )


def _active(connection: Connection, run_ids: set[str]) -> set[str]:
    """Return those of the runs that exist and are not deleted."""
    return set(connection.scalars(_ACTIVE, {"run_ids": sorted(run_ids)}))
