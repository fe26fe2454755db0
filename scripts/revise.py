"""Write the next revision of the schema from the difference between the tables in code and the newest revision.

    .venv/bin/python scripts/revise.py "add the table of waivers"

Read what it wrote before you commit it: triggers and data are yours to add.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config

import gateline
from gateline.kernel.records import Records, Row


def main(message: str) -> None:
    """Compare and write."""
    package = Path(gateline.__path__[0])
    for module in pkgutil.iter_modules(gateline.__path__):
        for path in sorted((package / module.name).glob("*store.py")) if module.ispkg else ():
            importlib.import_module(f"gateline.{module.name}.{path.stem}")
    config = Config()
    config.set_main_option("script_location", str(package / "migrations"))
    with tempfile.TemporaryDirectory() as folder:
        records = Records(f"sqlite:///{folder}/records.db")
        records.migrate()
        with records.engine.begin() as connection:
            config.attributes["connection"] = connection
            config.attributes["metadata"] = Row.metadata
            number = len(list((package / "migrations" / "versions").glob("*.py"))) + 1
            command.revision(config, message, autogenerate=True, rev_id=f"{number:04d}")


if __name__ == "__main__":
    main(sys.argv[1])
