"""Fixtures of a watched endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateline.kernel.clock import DAY, SimulatedClock
from tests.support.watched import START, Watched

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateline.ledger import Ledger


@pytest.fixture
def clock() -> SimulatedClock:
    """A clock a year after the replayed weeks, so that labels lie in the past."""
    return SimulatedClock(start=START + 400 * DAY)


@pytest.fixture
def watched(sqlite_ledger: Ledger, home: Path, clock: SimulatedClock) -> Iterator[Watched]:
    """An endpoint on SQLite."""
    found = Watched(sqlite_ledger, home, clock)
    yield found
    found.writer.close()


@pytest.fixture
def watched_everywhere(ledger: Ledger, home: Path, clock: SimulatedClock) -> Iterator[Watched]:
    """An endpoint on SQLite and on PostgreSQL."""
    found = Watched(ledger, home, clock)
    yield found
    found.writer.close()
