"""The service of pipelines over an empty installation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateline.data import ObjectStore
from gateline.pipelines import Pipelines
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
