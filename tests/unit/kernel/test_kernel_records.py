"""The records database when the machine under it misbehaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from gateline.kernel.errors import ConfigurationError, StorageFull, Unavailable
from gateline.kernel.records import Records

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.ledger import Ledger


def test_a_full_database_refuses_the_change_and_keeps_what_was_there(sqlite_ledger: Ledger, home: Path) -> None:
    """SQLite's page limit stands for a full disk: the same error comes out of the same call."""
    with sqlite_ledger.transaction("tester") as tx:
        tx.record("thing.changed", "before")

    def fill() -> None:
        with sqlite_ledger.transaction("tester") as tx:
            pages = tx.session.execute(text("PRAGMA page_count")).scalar_one()
            tx.session.execute(text(f"PRAGMA max_page_count = {pages}"))
            tx.record("thing.changed", "after", {"words": "x" * 200_000})

    with pytest.raises(StorageFull, match="Free space"):
        fill()
    assert [entry.subject for entry in sqlite_ledger.entries()] == ["before"]
    assert sqlite_ledger.verify().sound


def test_a_database_that_is_away_is_unavailable_and_not_a_crash() -> None:
    """Nobody listens there."""
    records = Records("postgresql://nobody@127.0.0.1:1/none?connect_timeout=1")
    with pytest.raises(Unavailable, match="does not answer"), records.read() as session:
        session.execute(text("SELECT 1"))


def test_records_of_a_newer_gateline_are_left_alone_with_one_clear_error(sqlite_ledger: Ledger) -> None:
    records = sqlite_ledger.records
    with records.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999_future'"))
    with pytest.raises(ConfigurationError, match="newer one: Can't locate revision identified by '9999_future'") as refused:
        records.migrate()
    assert "Start the newer Gateline" in refused.value.next_step
    with records.read() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == "9999_future"
