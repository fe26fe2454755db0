"""The service of pipelines over an empty installation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateline.data import ObjectStore
from gateline.pipelines import PipelineLimits, Pipelines, Schedules, Triggers
from tests.support.pipelines import Hand

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.ledger import Ledger


@pytest.fixture
def objects(home: Path) -> ObjectStore:
    """An empty object store."""
    return ObjectStore(home / "objects")


@pytest.fixture
def pipelines(ledger: Ledger, objects: ObjectStore) -> Pipelines:
    """The service under test."""
    return Pipelines(ledger, objects)


@pytest.fixture
def hand(pipelines: Pipelines, objects: ObjectStore) -> Hand:
    """Works on runs by hand."""
    return Hand(pipelines, objects)


@pytest.fixture
def schedules(ledger: Ledger) -> Schedules:
    """Schedules over the same records."""
    return Schedules(ledger)


@pytest.fixture
def triggers(ledger: Ledger) -> Triggers:
    """Triggers over the same records."""
    return Triggers(ledger)


@pytest.fixture
def limits(ledger: Ledger) -> PipelineLimits:
    """Limits over the same records."""
    return PipelineLimits(ledger)
