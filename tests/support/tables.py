"""The tables of all domains."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

import gateline
from gateline.kernel.records import Records, Row

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def declared_tables() -> MetaData:
    """Return every table that a `store` module declares."""
    for module in pkgutil.iter_modules(gateline.__path__):
        if module.ispkg and (Path(gateline.__path__[0]) / module.name / "store.py").exists():
            importlib.import_module(f"gateline.{module.name}.store")
    return Row.metadata


def create_tables(records: Records) -> None:
    """Create tables and triggers as an installation gets them."""
    records.migrate()
    declared_tables().create_all(records.engine)
