"""Measure Gateline's features beside Feast and beside hand-written Polars, in one run; `make bench-features`.

Each measurement is a process of its own, so that its peak memory is its own; repeated ones take turns, and the median counts. Results and
claims go to bench/results/features.json; the exit status is 1 when a claim does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import data
import polars as pl

from gateline.data import frame_digest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "bench" / "features"
RESULT = ROOT / "bench" / "results" / "features.json"
LARGE_COPIES = 30
SPARK_COPIES = 10
TOLERANCE = 1e-9


def measure(python: Path | str, script: str, *arguments: str | Path) -> dict[str, float]:
    """Run a script in a process of its own and return what it reports: `seconds` and `peak_mib`."""
    command = [str(python), str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"  {script} {' '.join(str(one) for one in arguments[:2] if not isinstance(one, Path))}: {found}", flush=True)
    return found


def feast_environment() -> Path:
    """Return the interpreter of Feast's environment, made from its lock file when it is not there."""
    folder, locked = BUILD / "feast-environment", ROOT / "requirements" / "feast.txt"
    stamp = folder / "locked"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != locked.read_text(encoding="utf-8"):
        subprocess.run([ROOT / "scripts" / "bootstrap"], check=True)
        uv = str(ROOT / ".tools" / "uv")
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)], check=True)
        subprocess.run([uv, "pip", "sync", "-q", "--require-hashes", "--python", str(folder / "bin" / "python"), str(locked)], check=True)
        shutil.copy(locked, stamp)
    return folder / "bin" / "python"


def turns(name: str, copies: int, repeats: int) -> dict[str, list[dict[str, float]]]:
    """Return the measurements of Gateline and of hand-written Polars, which take turns."""
    data.prepared(BUILD, copies)
    found: dict[str, list[dict[str, float]]] = {"gateline": [], "polars": []}
    for _ in range(repeats):
        for who, measured in found.items():
            measured.append(measure(sys.executable, f"{who}_query.py", name, str(copies), BUILD, BUILD / f"{who}_{name}.parquet"))
    return found


def median(measured: list[dict[str, float]], what: str = "seconds") -> float:
    """Return the median of one number."""
    return statistics.median(one[what] for one in measured)


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


def claim(name: str, what: str, value: float, unit: str, sense: str, goal: float) -> dict[str, object]:
    """Return a claim with whether it holds."""
    holds = {">=": value >= goal, "<=": value <= goal, "=": value == goal}[sense]
    return {"id": name, "what": what, "value": round(value, 3), "unit": unit, "sense": sense, "goal": goal, "holds": holds}


def against_feast(repeats: int) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Measure the lookup of 336,776 flights against hourly weather beside Feast's DuckDB store."""
    python, tables = feast_environment(), data.prepared(BUILD, 1)
    scratch = BUILD / "feast-repository"
    shutil.rmtree(scratch, ignore_errors=True)
    feast = measure(python, "feast_lookup.py", tables["flights"], tables["weather"], scratch, BUILD / "feast_lookup.parquet")
    measured = turns("lookup", 1, repeats)
    ours = median(measured["gateline"])
    different = differing(BUILD / "gateline_lookup.parquet", BUILD / "feast_lookup.parquet", list(data.WEATHER))
    what = "Point-in-time lookup of 336,776 flights against hourly weather: how many times faster than Feast's DuckDB store."
    return {"feast": feast, **measured}, [
        claim("pit_vs_feast", what, feast["seconds"] / ours, "x", ">=", 50),
        claim("pit_vs_feast_differing", "Rows whose six values differ from Feast's.", different, "rows", "=", 0),
    ]


def against_polars(copies: int, repeats: int) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Measure lookup and 18 windows beside the hand-written Polars query."""
    measured = turns("windows", copies, repeats)
    results = [BUILD / f"{who}_windows.parquet" for who in ("gateline", "polars")]
    columns = [name for name in pl.scan_parquet(results[1]).collect_schema().names() if name in data.WEATHER or name[:2] in {"n_", "m_"}]
    size, rows = ("large", 336_776 * copies) if copies > 1 else ("small", 336_776)
    ratio = median(measured["gateline"]) / median(measured["polars"])
    claims = [
        claim(f"windows_{size}_vs_polars", f"Lookup and 18 windows over {rows:,} rows: time in multiples of hand-written Polars.",
              ratio, "x", "<=", 1.5),
        claim(f"windows_{size}_differing", f"Rows of {rows:,} whose {len(columns)} values differ from hand-written Polars.",
              differing(*results, columns), "rows", "=", 0),
    ]  # fmt: skip
    if copies > 1:
        peak = max(one["peak_mib"] for one in measured["gateline"]) / 1024
        claims.append(claim("windows_large_peak", f"Peak memory of lookup and 18 windows over {rows:,} rows.", peak, "GiB", "<=", 5))
    return measured, claims


def online(repeats: int) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Measure reads and materialisation of 10,000 entities with 20 features beside Feast's SQLite store, in turns.

    Beside them, without a claim: the same read through the service in process, and through HTTP from `gateline up`.
    """
    interpreters = {"gateline": sys.executable, "feast": feast_environment()}
    found: dict[str, list[dict[str, float]]] = {who: [] for who in interpreters}
    for _ in range(repeats):
        for who, python in interpreters.items():
            found[who].append(measure(python, f"{who}_online.py", _emptied(f"{who}-online")))
    ours, theirs = ({what: median(found[who], what) for what in found[who][0]} for who in ("gateline", "feast"))
    found["service"] = [measure(sys.executable, "gateline_read.py", _emptied("gateline-read"))]
    what = "Online read of {}, 20 features, in process, {}."
    return found, [
        claim("online_one_us", what.format("one entity", "median time"), ours["one_us_p50"], "us", "<=", 15),
        claim("online_one_vs_feast", what.format("one entity", "times faster than Feast on SQLite"),
              theirs["one_us_p50"] / ours["one_us_p50"], "x", ">=", 15),
        claim("online_hundred_vs_feast", what.format("100 entities", "times faster than Feast on SQLite"),
              theirs["hundred_us_p50"] / ours["hundred_us_p50"], "x", ">=", 40),
        claim("materialise", "Rows of 20 features materialised into SQLite, durably.", ours["rows_per_second"], "rows/s", ">=", 100_000),
        claim("materialise_many", "The same, of 100,000 entities.", ours["many_rows_per_second"], "rows/s", ">=", 100_000),
    ]  # fmt: skip


def _emptied(name: str) -> Path:
    """Return an empty folder."""
    folder = BUILD / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def against_spark() -> tuple[dict[str, object], list[dict[str, object]]]:
    """Compute lookup and 18 windows over 3,367,760 rows with Spark and with Polars: the logical digests must be one."""
    data.prepared(BUILD, SPARK_COPIES)
    results = {"spark": BUILD / "spark_windows", "gateline": BUILD / "gateline_windows.parquet"}
    shutil.rmtree(results["spark"], ignore_errors=True)
    found = {who: measure(sys.executable, f"{who}_query.py", "windows", str(SPARK_COPIES), BUILD, path) for who, path in results.items()}
    files = {"spark": sorted(results["spark"].glob("part-*.parquet")), "gateline": [results["gateline"]]}
    digests = {who: frame_digest(pl.read_parquet(paths)) for who, paths in files.items()}
    what = f"Logical digests of lookup and 18 windows over {336_776 * SPARK_COPIES:,} rows, from Spark and from Polars."
    return {**found, "digests": digests}, [claim("spark_digests", what, len(set(digests.values())), "digests", "=", 1)]


def environment() -> dict[str, object]:
    """Return what the numbers depend on."""
    packages = {name: version(name) for name in ("polars", "numpy", "pyspark")}
    return {"python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg()[0], "feast": "0.67.0", **packages}


def main() -> int:
    """Run the benchmark, write the results and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave the 10.1M rows and Spark out; at most 4 minutes")
    parser.add_argument("--online", action="store_true", help="measure the online store only, and leave the results file as it is")
    options = parser.parse_args()
    quick = options.quick
    BUILD.mkdir(parents=True, exist_ok=True)
    if options.online:
        return shown(online(1 if quick else 3)[1])
    raw: dict[str, object] = {}
    claims: list[dict[str, object]] = []
    surroundings = environment()
    raw["lookup"], found = against_feast(3 if quick else 5)
    claims += found
    raw["windows_small"], found = against_polars(1, 3 if quick else 5)
    claims += found
    raw["online"], found = online(1 if quick else 3)
    claims += found
    if not quick:
        raw["windows_large"], found = against_polars(LARGE_COPIES, 1)
        claims += found
        raw["spark"], found = against_spark()
        claims += found
        small, large = (median(raw[f"windows_{size}"]["gateline"]) for size in ("small", "large"))
        what = f"Time for each of {LARGE_COPIES} times the rows, in multiples of that for each of 336,776."
        claims.append(claim("windows_linear", what, large / LARGE_COPIES / small, "x", "<=", 1.5))
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    content = {"environment": {**surroundings, "quick": quick}, "raw": raw, "claims": claims}
    RESULT.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return shown(claims)


def shown(claims: list[dict[str, object]]) -> int:
    """Print the claims and return the exit status."""
    for one in claims:
        print(
            f"{'holds' if one['holds'] else 'FAILS'}  {one['id']:28} {one['value']:>12,} {one['unit']:5} goal {one['sense']} {one['goal']}"
        )
    return 0 if all(one["holds"] for one in claims) else 1


if __name__ == "__main__":
    sys.exit(main())
