"""The case that both stores serve: 10,000 entities with 20 fractions each, read one and a hundred at a time by one client in process."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

from bench.harness.measured import report

ENTITIES = 10_000
FEATURES = 20
NAMES = [f"f{number}" for number in range(FEATURES)]
KEYS = [f"N{number:05d}" for number in range(ENTITIES)]


def values(entities: int = ENTITIES) -> np.ndarray:
    """Return the values, shape (entities, features)."""
    return np.random.default_rng(0).normal(size=(entities, FEATURES))


def timed(read: Callable[[Sequence[str]], object], entities: int, repeats: int) -> float:
    """Return the median time of reading random entities, in microseconds."""
    draw = random.Random(1)  # noqa: S311 - the same draw for both stores
    wanted = [draw.sample(KEYS, entities) for _ in range(repeats)]
    for keys in wanted[:20]:
        read(keys)
    found = []
    for keys in wanted:
        started = time.perf_counter()
        read(keys)
        found.append((time.perf_counter() - started) * 1e6)
    return statistics.median(found)


def report_reads(rates: dict[str, float], read: Callable[[Sequence[str]], object], *, one: int, hundred: int) -> None:
    """Measure and print what the benchmark reads, beside the rates of materialisation."""
    report(**rates, one_us_p50=timed(read, 1, one), hundred_us_p50=timed(read, 100, hundred))
