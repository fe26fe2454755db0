"""The tables of all domains."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import gateline
from gateline.kernel.records import Records, Row

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def declared_tables() -> MetaData:
    """Return every table that a module of a domain called `store` or `…_store` declares, however deep it stands."""
    root = Path(gateline.__path__[0])
    for path in sorted(root.rglob("*store.py")):
        if "adapters" not in path.relative_to(root).parts:
            importlib.import_module(".".join(("gateline", *path.relative_to(root).with_suffix("").parts)))
    return Row.metadata


def create_tables(records: Records) -> None:
    """Create tables and triggers as an installation gets them."""
    records.migrate()
    declared_tables().create_all(records.engine)
