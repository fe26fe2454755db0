"""Measure Gateline's features beside Feast and beside hand-written Polars, in one run; `make bench-features`.

Each measurement is a process of its own, so that its peak memory is its own; repeated ones take turns, and the median counts. Results and
claims go to bench/results/features.json; the exit status is 1 when a claim does not hold.
"""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import polars as pl

from bench.features import data
from bench.harness.claims import Claim, at_least, at_most, exactly, median
from bench.harness.environments import ROOT, locked_version, peer
from bench.harness.processes import OURS, emptied, measure
from bench.harness.results import Benchmark, arguments
from gateline.data import frame_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Found = tuple[dict[str, Any], list[Claim]]
BUILD = ROOT / "build" / "bench" / "features"
LARGE_COPIES = 30
SPARK_COPIES = 10
TOLERANCE = 1e-9


def turns(name: str, copies: int, repeats: int) -> dict[str, list[dict[str, float]]]:
    """Return the measurements of Gateline and of hand-written Polars, which take turns."""
    data.prepared(BUILD, copies)
    found: dict[str, list[dict[str, float]]] = {"gateline": [], "polars": []}
    for _ in range(repeats):
        for who, measured in found.items():
            measured.append(measure(OURS, f"bench.features.{who}_query", name, str(copies), BUILD, BUILD / f"{who}_{name}.parquet"))
    return found


def differing(one: Path, other: Path, columns: list[str]) -> int:
    """Return how many rows differ in any of the columns: in what is missing, or by more than 1e-9 relative."""
    pair = pl.scan_parquet(one).select("flight_id", *columns)
    again = pl.scan_parquet(other).select("flight_id", *(pl.col(name).alias(f"{name}_other") for name in columns))
    joined = pair.join(again, on="flight_id", how="full", coalesce=False)
    different = pl.col("flight_id").is_null() | pl.col("flight_id_right").is_null()
    for name in columns:
        left, right = pl.col(name).cast(pl.Float64).fill_nan(None), pl.col(f"{name}_other").cast(pl.Float64).fill_nan(None)
        apart = ((left - right).abs() > TOLERANCE * left.abs()).fill_null(value=False)
        different = different | (left.is_null() != right.is_null()) | apart
    return joined.select(different.sum()).collect(engine="streaming").item()


def against_feast(repeats: int) -> Found:
    """Measure the lookup of 336,776 flights against hourly weather beside Feast's DuckDB store."""
    python, tables = peer("feast") / "python", data.prepared(BUILD, 1)
    scratch = BUILD / "feast-repository"
    shutil.rmtree(scratch, ignore_errors=True)
    feast = measure(python, "bench.features.feast_lookup", tables["flights"], tables["weather"], scratch, BUILD / "feast_lookup.parquet")
    measured = turns("lookup", 1, repeats)
    ours = median(measured["gateline"])
    different = differing(BUILD / "gateline_lookup.parquet", BUILD / "feast_lookup.parquet", list(data.WEATHER))
    what = "Point-in-time lookup of 336,776 flights against hourly weather: how many times faster than Feast's DuckDB store."
    return {"feast": feast, **measured}, [
        at_least("pit_vs_feast", what, feast["seconds"] / ours, "x", 50),
        exactly("pit_vs_feast_differing", "Rows whose six values differ from Feast's.", different, "rows", 0),
    ]


def against_polars(copies: int, repeats: int) -> Found:
    """Measure lookup and 18 windows beside the hand-written Polars query."""
    measured = turns("windows", copies, repeats)
    results = [BUILD / f"{who}_windows.parquet" for who in ("gateline", "polars")]
    columns = [name for name in pl.scan_parquet(results[1]).collect_schema().names() if name in data.WEATHER or name[:2] in {"n_", "m_"}]
    size, rows = ("large", 336_776 * copies) if copies > 1 else ("small", 336_776)
    ratio = median(measured["gateline"]) / median(measured["polars"])
    claims = [
        at_most(f"windows_{size}_vs_polars", f"Lookup and 18 windows over {rows:,} rows: time in multiples of hand-written Polars.",
              ratio, "x", 1.5),
        exactly(f"windows_{size}_differing", f"Rows of {rows:,} whose {len(columns)} values differ from hand-written Polars.",
              differing(*results, columns), "rows", 0),
    ]  # fmt: skip
    if copies > 1:
        peak = max(one["peak_mib"] for one in measured["gateline"]) / 1024
        claims.append(at_most("windows_large_peak", f"Peak memory of lookup and 18 windows over {rows:,} rows.", peak, "GiB", 5))
    return measured, claims


def online(repeats: int) -> Found:
    """Measure reads and materialisation of 10,000 entities with 20 features beside Feast's SQLite store, in turns.

    Beside them, without a claim: the same read through the service in process, and through HTTP from `gateline up`.
    """
    interpreters = {"gateline": OURS, "feast": peer("feast") / "python"}
    found: dict[str, list[dict[str, float]]] = {who: [] for who in interpreters}
    for _ in range(repeats):
        for who, python in interpreters.items():
            found[who].append(measure(python, f"bench.features.{who}_online", emptied(BUILD / f"{who}-online")))
    ours, theirs = ({what: median(found[who], what) for what in found[who][0]} for who in ("gateline", "feast"))
    found["service"] = [measure(OURS, "bench.features.gateline_read", emptied(BUILD / "gateline-read"))]
    what = "Online read of {}, 20 features, in process, {}."
    return found, [
        at_most("online_one_us", what.format("one entity", "median time"), ours["one_us_p50"], "us", 15),
        at_least("online_one_vs_feast", what.format("one entity", "times faster than Feast on SQLite"),
              theirs["one_us_p50"] / ours["one_us_p50"], "x", 15),
        at_least("online_hundred_vs_feast", what.format("100 entities", "times faster than Feast on SQLite"),
              theirs["hundred_us_p50"] / ours["hundred_us_p50"], "x", 40),
        at_least("materialise", "Rows of 20 features materialised into SQLite, durably.", ours["rows_per_second"], "rows/s", 100_000),
        at_least("materialise_many", "The same, of 100,000 entities.", ours["many_rows_per_second"], "rows/s", 100_000),
    ]  # fmt: skip


def against_spark() -> Found:
    """Compute lookup and 18 windows over 3,367,760 rows with Spark and with Polars: the logical digests must be one."""
    data.prepared(BUILD, SPARK_COPIES)
    results = {"spark": BUILD / "spark_windows", "gateline": BUILD / "gateline_windows.parquet"}
    shutil.rmtree(results["spark"], ignore_errors=True)
    found = {who: measure(OURS, f"bench.features.{who}_query", "windows", str(SPARK_COPIES), BUILD, path) for who, path in results.items()}
    files = {"spark": sorted(results["spark"].glob("part-*.parquet")), "gateline": [results["gateline"]]}
    digests = {who: frame_digest(pl.read_parquet(paths)) for who, paths in files.items()}
    what = f"Logical digests of lookup and 18 windows over {336_776 * SPARK_COPIES:,} rows, from Spark and from Polars."
    return {**found, "digests": digests}, [exactly("spark_digests", what, len(set(digests.values())), "digests", 1)]


def main() -> int:
    """Run the benchmark, write the results and return the exit status."""
    parser = arguments(__doc__, "without the 10.1M rows and Spark")
    parser.add_argument("--online", action="store_true", help="measure the online store only, and leave the results file as it is")
    options = parser.parse_args()
    quick, packages = options.quick, {name: version(name) for name in ("polars", "numpy", "pyspark")}
    bench = Benchmark("features", feast=locked_version("feast", "feast"), **packages)
    parts: dict[str, Callable[[], Found]] = {"online": lambda: online(1 if quick else 3)}
    if not options.online:
        parts = {"lookup": lambda: against_feast(3 if quick else 5), "windows_small": lambda: against_polars(1, 3 if quick else 5), **parts}
        if not quick:
            parts |= {"windows_large": lambda: against_polars(LARGE_COPIES, 1), "spark": against_spark}
    for name, part in parts.items():
        bench.raw[name], claims = part()
        bench.claims += claims
    if "windows_large" in bench.raw:
        small, large = (median(bench.raw[f"windows_{size}"]["gateline"]) for size in ("small", "large"))
        what = f"Time for each of {LARGE_COPIES} times the rows, in multiples of that for each of 336,776."
        bench.claims.append(at_most("windows_linear", what, large / LARGE_COPIES / small, "x", 1.5))
    return bench.finish(quick=quick, keep=not options.online)


if __name__ == "__main__":
    sys.exit(main())
