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
    """Return every table that a module called `store` or `…_store` declares."""
    for module in pkgutil.iter_modules(gateline.__path__):
        for path in sorted((Path(gateline.__path__[0]) / module.name).glob("*store.py")) if module.ispkg else ():
            importlib.import_module(f"gateline.{module.name}.{path.stem}")
    return Row.metadata


def create_tables(records: Records) -> None:
    """Create tables and triggers as an installation gets them."""
    records.migrate()
    declared_tables().create_all(records.engine)
