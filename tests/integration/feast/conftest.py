"""Feast in an environment of its own under `build/`: it needs pandas 2 and 77 packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.environments import locked_python

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def feast_python() -> Path:
    """The interpreter of Feast's environment."""
    return locked_python("feast")
