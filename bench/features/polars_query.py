"""The same features as a hand-written Polars query.

The lookup is an as-of join; each group of windows rolls over the union of requests and arrivals of a key, sorted by time.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import polars as pl

from bench.features import data
from bench.harness.measured import report

KEYS = ("carrier", "origin", "tailnum")
WINDOWS = {"1h": "1h", "1d": "24h", "7d": "168h"}  # as Gateline names them, and as Polars measures them


def lookup(flights: pl.LazyFrame, weather: pl.LazyFrame) -> pl.LazyFrame:
    """Return the requests with the newest weather of their airport that is at most two days old."""
    requests = flights.select("flight_id", "carrier", "origin", "tailnum", "ts").sort("ts")
    return requests.join_asof(weather.sort("wts"), left_on="ts", right_on="wts", by="origin", tolerance="2d", check_sortedness=False)


def windows(flights: pl.LazyFrame, weather: pl.LazyFrame) -> pl.LazyFrame:
    """Return the lookup with count and mean of arrival delays over each window of each key."""
    result = lookup(flights, weather)
    arrivals = flights.filter(pl.col("known_ts").is_not_null())
    for key in KEYS:
        asked = flights.select("flight_id", key, t="ts", delay=pl.lit(None, dtype=pl.Int64))
        known = arrivals.select(pl.lit(None, dtype=pl.Int64).alias("flight_id"), key, t="known_ts", delay="arr_delay")
        rolled = pl.concat([asked, known]).sort("t")
        sums = []
        for window, span in WINDOWS.items():
            counted, summed = pl.col("delay").is_not_null().cast(pl.Int64), pl.col("delay").fill_null(0)
            for name, values in ((f"n_{key}_{window}", counted), (f"s_{key}_{window}", summed)):
                sums.append(values.rolling_sum_by("t", window_size=span, closed="right").over(key).alias(name))
        counts = [pl.col(f"n_{key}_{window}") for window in WINDOWS]
        means = [
            (pl.col(f"s_{key}_{window}") / pl.when(pl.col(f"n_{key}_{window}") > 0).then(pl.col(f"n_{key}_{window}"))).alias(
                f"m_{key}_{window}"
            )
            for window in WINDOWS
        ]
        rows = rolled.with_columns(sums).filter(pl.col("flight_id").is_not_null()).select("flight_id", *counts, *means)
        result = result.join(rows, on="flight_id")
    return result


def main() -> None:
    """Run: polars_query.py lookup|windows <copies> <folder> <result>."""
    name, copies, folder, result = sys.argv[1:]
    tables = data.prepared(Path(folder), int(copies))
    begin = time.perf_counter()
    query = {"lookup": lookup, "windows": windows}[name]
    found = query(pl.scan_parquet(tables["flights"]), pl.scan_parquet(tables["weather"])).collect()
    report(seconds=time.perf_counter() - begin)
    found.sort("flight_id").write_parquet(result)


if __name__ == "__main__":
    main()
