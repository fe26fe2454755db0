"""Fixtures that every test may use.

`records` and `ledger` run each test twice, on SQLite and on PostgreSQL; `sqlite_ledger` is for tests whose promise does not depend
on the database. Every test gets databases of its own, copied from a template that holds all tables.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import structlog

from gateline.kernel.clock import SimulatedClock
from gateline.kernel.records import Records
from gateline.ledger import Ledger, SigningKey
from tests.support.postgresql import PostgresServer
from tests.support.tables import create_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

# Examples are drawn the same way in every run; slow machines are no failure.
hypothesis.settings.register_profile("gateline", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("gateline")

# The developer's own settings must not reach a test, and no library may phone home from one.
for _name in [name for name in os.environ if name.startswith(("GATELINE_", "MLFLOW_"))]:
    del os.environ[_name]
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "1"


_FIRST = ("integration/ray/", "integration/test_notebook_tutorial.py")
"""Tests that wait for other processes most of their time: begun first, on one worker, so that the run does not end with them alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest."""
    folder = Path(__file__).parent
    items.sort(key=lambda item: not item.path.relative_to(folder).as_posix().startswith(_FIRST))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test process."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgresql_template(postgresql: PostgresServer) -> str:
    """The name of a database that holds all tables and no rows."""
    name = postgresql.create()
    database = Records(postgresql.url(name))
    create_tables(database)
    database.close()
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file that holds all tables and no rows."""
    path = tmp_path_factory.mktemp("template") / "records.db"
    database = Records(f"sqlite:///{path}")
    create_tables(database)
    with database.engine.connect() as connection:
        connection.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture(autouse=True)
def _plain_logging() -> Iterator[None]:
    """Logging as it is before any application was built, so that no test inherits another's level."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home folder."""
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def clock() -> SimulatedClock:
    """A clock that moves only when told to; it starts at 2013-01-01 UTC."""
    return SimulatedClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def unmigrated_records(request: pytest.FixtureRequest, home: Path) -> Iterator[Records]:
    """A database without a single table, on both kinds."""
    if request.param == "sqlite":
        database = Records(f"sqlite:///{home / 'unmigrated.db'}")
        yield database
        database.close()
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    name = server.create()
    database = Records(server.url(name))
    yield database
    database.close()
    server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def records(request: pytest.FixtureRequest, home: Path) -> Iterator[Records]:
    """An empty records database: each test runs on both kinds."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_template"), home / "records.db")
        database = Records(f"sqlite:///{home / 'records.db'}")
        yield database
        database.close()
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    name = server.create(request.getfixturevalue("postgresql_template"))
    database = Records(server.url(name))
    yield database
    database.close()
    server.drop(name)


@pytest.fixture
def ledger(records: Records, clock: SimulatedClock, home: Path) -> Ledger:
    """A ledger over the records database of the test."""
    return Ledger(records, clock, SigningKey.load_or_create(home / "keys"))


@pytest.fixture
def sqlite_ledger(home: Path, clock: SimulatedClock, sqlite_template: Path) -> Iterator[Ledger]:
    """A ledger on SQLite, for tests that need no second database."""
    shutil.copyfile(sqlite_template, home / "only.db")
    database = Records(f"sqlite:///{home / 'only.db'}")
    yield Ledger(database, clock, SigningKey.load_or_create(home / "keys"))
    database.close()
