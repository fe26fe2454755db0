"""Measure metric logging and search beside the stock MLflow server on SQLite, in one run; `make bench-tracking`.

The stock server and MLflow's own client come from an environment of their own. The stock server runs twice: with its default of four
workers and with one; Gateline's control plane is one process. All run at the same time and are asked in turns, so that the load of the
machine falls on each; the median of the turns counts. Results and claims go to bench/results/tracking.json; the exit status is 1 when a
claim does not hold.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

from bench.harness.claims import Claim, at_least, at_most, median
from bench.harness.environments import locked_version, peer
from bench.harness.results import Benchmark, arguments
from bench.tracking.seed import seed
from bench.tracking.servers import GATELINE, STOCK, Servers

RUNS = 10_000
VALUES = 100_000
WORKERS = {"stock": "with its default of four workers", "stock_one_worker": "with one worker"}


def ratio(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], what: str) -> float:
    """Return the median over the turns of ours in multiples of theirs in the same turn."""
    return statistics.median(one[what] / other[what] for one, other in zip(ours, theirs, strict=True))


def logging(servers: Servers, raw: dict[str, Any], *, quick: bool) -> list[Claim]:
    """Measure logging one value at a time and a thousand at a time, and 100,000 through the SDK."""
    repeats = 3 if quick else 9
    log = servers.turns("log", {**dict.fromkeys(STOCK, 200), GATELINE: 600}, repeats)
    batch = servers.turns("batch", {**dict.fromkeys(STOCK, 5), GATELINE: 15}, repeats)
    sdk = [servers.sdk(VALUES) for _ in range(1 if quick else 3)]
    raw |= {"log": log, "batch": batch, "sdk": sdk}
    claims = []
    for who, words in WORKERS.items():
        one = "mlflow.log_metric in a loop: calls per second, in multiples of the stock server"
        thousand = "log_batch of 1,000 values: times faster than the stock server"
        times = ratio(log[GATELINE], log[who], "per_second")
        claims += [
            at_least(f"log_metric_vs_{who}", f"{one} {words} (median of turns).", times, "x", 4),
            at_least(f"log_batch_vs_{who}", f"{thousand} {words}.", ratio(batch[who], batch[GATELINE], "milliseconds"), "x", 2),
        ]
    loop = f"{VALUES:,} values through Gateline's SDK, ten in a call: values per second, in multiples of mlflow.log_metric in a loop"
    fastest = max(STOCK, key=lambda who: median(log[who], "per_second"))
    return [
        *claims,
        at_least("sdk_vs_stock_loop", f"{loop} on the faster stock server.",
                 median(sdk, "per_second") / median(log[fastest], "per_second"), "x", 10),
        at_least("sdk_vs_own_loop", f"{loop} on Gateline.", median(sdk, "per_second") / median(log[GATELINE], "per_second"), "x", 10),
    ]  # fmt: skip


def searching(servers: Servers, raw: dict[str, Any], *, quick: bool) -> list[Claim]:
    """Measure a search ordered by a metric over 10,000 runs, filled in while the servers were down."""
    search = servers.turns("search", {**dict.fromkeys(STOCK, 1), GATELINE: 5}, 1 if quick else 3)
    raw["search"] = search
    ours = median(search[GATELINE])
    theirs = min(median(search[who]) for who in STOCK)
    what = f"First page of a search ordered by a metric over {RUNS:,} runs, through MLflow's own client"
    return [
        at_most("search_seconds", f"{what}.", ours, "s", 0.5),
        at_least("search_vs_stock", f"{what}: times faster than the faster stock server.", theirs / ours, "x", 10),
    ]


def main() -> int:
    """Run the benchmark, write the results and return the exit status."""
    parser = arguments(__doc__, "fewer turns")
    parser.add_argument("--only", choices=["log", "search"], help="measure one half, and leave the results file as it is")
    options = parser.parse_args()
    bench = Benchmark("tracking", mlflow=locked_version("mlflow", "mlflow"))
    servers = Servers(bench.build, peer("mlflow"))
    with servers.running():
        if options.only != "search":
            bench.claims += logging(servers, bench.raw, quick=options.quick)
    if options.only != "log":
        for database in servers.databases.values():
            seed(database, RUNS)
        with servers.running():
            bench.claims += searching(servers, bench.raw, quick=options.quick)
    return bench.finish(quick=options.quick, keep=options.only is None)


if __name__ == "__main__":
    sys.exit(main())
