"""The migrations and the declared tables are one schema, on both databases."""

from __future__ import annotations

import subprocess
import sys

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from gateline.kernel.records import Records
from gateline.ledger.store import APPEND_ONLY_TABLES
from tests.support.tables import declared_tables

MIGRATE_WHEN_TOLD = """
import sys
import alembic.command
from gateline.kernel.records import Records

records = Records(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
records.migrate()
"""


def test_an_empty_database_becomes_what_the_code_declares(unmigrated_records: Records):
    unmigrated_records.migrate()
    with unmigrated_records.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, declared_tables()) == []


def test_migrating_again_changes_nothing(unmigrated_records: Records):
    unmigrated_records.migrate()
    with unmigrated_records.engine.connect() as connection:
        before = connection.execute(text("SELECT version_num FROM alembic_version")).all()
    unmigrated_records.migrate()
    with unmigrated_records.engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).all() == before
    assert len(before) == 1


def test_processes_that_start_at_once_all_find_the_schema(unmigrated_records: Records):
    url = unmigrated_records.engine.url.render_as_string(hide_password=False)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, "-c", MIGRATE_WHEN_TOLD, url], **pipes) for _ in range(3)]
    assert [process.stdout.readline() for process in started] == ["ready\n"] * 3
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    outcomes = [(process.communicate(timeout=120)[1], process.returncode) for process in started]
    assert [error[-1000:] for error, status in outcomes if status] == []
    with unmigrated_records.engine.connect() as connection:
        for table in APPEND_ONLY_TABLES:
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0
