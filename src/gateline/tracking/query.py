"""What is asked of many runs, and of one metric: searches, pages and histories."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateline.tracking.model import RunFacts

SAMPLED_POINTS_MIN = 10
SAMPLED_POINTS_MAX = 10_000
_PER_BUCKET = 3  # least, greatest, and one value that is no finite number


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuery:
    """A search for runs.

    Attributes:
        experiment: Name of the experiment; all experiments when empty.
        filter: Conditions in MLflow's grammar, joined by AND: `metrics.auc > 0.7 and params.model = 'lightgbm'`.
        order_by: Columns in MLflow's grammar: `metrics.auc DESC`. Newest first when empty.
        max_results: Most runs in a page.
        page_token: Where the page begins: what the page before gave.
    """

    experiment: str = ""
    filter: str = ""
    order_by: tuple[str, ...] = ()
    max_results: int = 50
    page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """Runs without their files and metric histories; `next_page_token` is empty on the last page."""

    runs: tuple[RunFacts, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPoint:
    """One logged value: its step, when it was logged (UTC microseconds), and the value, which may be NaN or infinite."""

    step: int
    at: int
    value: float

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; a value that JSON cannot carry is written as text."""
        return {"step": self.step, "at": self.at, "value": number(self.value)}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricHistory:
    """The values of one metric in the order of step, time and value.

    Attributes:
        run_id: The run.
        name: The metric.
        count: Number of values logged.
        sampled: Whether `points` are fewer than that.
        points: The values, or a sample of them: see `sample`.
    """

    run_id: str
    name: str
    count: int
    sampled: bool
    points: tuple[MetricPoint, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        points = [one.as_dict() for one in self.points]
        return {"run_id": self.run_id, "name": self.name, "count": self.count, "sampled": self.sampled, "points": points}


def sample(points: Iterable[MetricPoint], count: int, limit: int) -> list[MetricPoint]:
    """Return at most `limit` of `count` points, in their order, so that a plot of them looks like a plot of all.

    With no more points than the limit, these are all of them. Otherwise the first and last are kept and, of each of equally many
    neighbours, the least and the greatest finite value and the first that is NaN or infinite: no peak and no gap is lost.

    >>> points = [MetricPoint(step=step, at=0, value=float(step == 500)) for step in range(1000)]
    >>> kept = sample(points, 1000, 20)
    >>> len(kept) <= 20, kept[0].step, kept[-1].step, max(one.value for one in kept)
    (True, 0, 999, 1.0)
    """
    if count <= limit:
        return list(points)
    buckets = max(1, (limit - 2) // _PER_BUCKET)
    kept: list[MetricPoint] = []
    bucket: list[tuple[int, MetricPoint]] = []
    current = 0
    for index, point in enumerate(points):
        here = min(index, count - 1) * buckets // count
        if here != current:
            kept += _extremes(bucket)
            bucket, current = [], here
        if index in {0, count - 1}:
            kept += _extremes(bucket) if index else []
            bucket = [] if index else bucket
            kept.append(point)
        else:
            bucket = _fold(bucket, index, point)
    return kept + _extremes(bucket)


def _fold(bucket: list[tuple[int, MetricPoint]], index: int, point: MetricPoint) -> list[tuple[int, MetricPoint]]:
    """Return the points of a bucket that are worth keeping, now that one more is known; at most three."""
    odd = [one for one in bucket if not math.isfinite(one[1].value)]
    finite = [one for one in bucket if math.isfinite(one[1].value)]
    if not math.isfinite(point.value):
        return bucket if odd else [*bucket, (index, point)]
    if len(finite) < 2:
        return [*bucket, (index, point)]
    least, greatest = sorted(finite, key=lambda one: one[1].value)
    if point.value < least[1].value:
        least = (index, point)
    elif point.value > greatest[1].value:
        greatest = (index, point)
    else:
        return bucket
    return [*odd, least, greatest]


def _extremes(bucket: list[tuple[int, MetricPoint]]) -> list[MetricPoint]:
    return [point for _, point in sorted(bucket, key=lambda one: one[0])]
