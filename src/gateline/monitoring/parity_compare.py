"""One comparison from end to end: which requests are compared, what their features are offline, and how each feature does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from gateline.monitoring.model import FEATURE_PREFIX
from gateline.monitoring.parity_model import LAGS_SECONDS, FeatureParity, Lag, Outcome, ParityPlan, RequestCounts
from gateline.monitoring.parity_offline import Offline
from gateline.monitoring.parity_rules import compare_feature, estimate_lag, outcomes, sampled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gateline.features import Plan

LAG_ROWS_MAX = 20_000
_REQUEST = ("request_id", "entity", "event_time", "received_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What a comparison found, before it is judged as a whole."""

    counts: RequestCounts
    features: tuple[FeatureParity, ...]
    version: str


def compare_requests(
    served: pl.DataFrame, plan: Plan, tables: Mapping[str, Sequence[Path]], names: Sequence[str], limits: ParityPlan
) -> Compared:
    """Recompute the sampled requests of a table of predictions and compare each feature.

    Args:
        served: Predictions as `Serving.predictions` gives them; those of shadows are left out.
        plan: What the feature set compiles to.
        tables: Dataset name to the Parquet files that it is computed over.
        names: The features that are served and computed.
        limits: Sample and limits.

    Raises:
        InvalidInput: the set cannot be computed over these tables.
    """
    answered = served.filter(~pl.col("shadow"))
    named = answered.filter(pl.col("entity") != "")
    single = named.filter(pl.len().over(_REQUEST) == 1)
    chosen = single.filter(sampled(single["entity"], limits.sample_share)).sort("event_time", "prediction_id")
    offline = Offline(plan, tables)
    rows = chosen.filter(offline.known(chosen["entity"]))
    counts = RequestCounts(
        requests=answered.height, unnamed=answered.height - named.height, batched=named.height - single.height, sampled=chosen.height,
        unknown=chosen.height - rows.height, compared=rows.height,
    )  # fmt: skip
    features = _features(rows, offline, names, limits) if rows.height else ()
    return Compared(counts=counts, features=features, version=_main_version(answered))


def _features(rows: pl.DataFrame, offline: Offline, names: Sequence[str], limits: ParityPlan) -> tuple[FeatureParity, ...]:
    computed = offline.at(rows)[0]
    pairs = {
        name: pl.DataFrame({"prediction_id": rows["prediction_id"], "served": rows[FEATURE_PREFIX + name], "offline": computed[name]})
        for name in names
    }
    earlier = _Earlier(rows, offline, pairs)
    return tuple(compare_feature(name, pair, limits, lag_of=partial(earlier.lag, name)) for name, pair in pairs.items())


class _Earlier:
    """Offline values before the time of the request, for the rows of a comparison that mismatch in any feature."""

    def __init__(self, rows: pl.DataFrame, offline: Offline, pairs: Mapping[str, pl.DataFrame]) -> None:
        self._pairs = pairs
        wrong = pl.Series([False], dtype=pl.Boolean).new_from_index(0, rows.height)
        for pair in pairs.values():
            wrong |= outcomes(pair["served"], pair["offline"]) == Outcome.MISMATCH.value
        # Rows are in order of time; every n-th keeps the whole interval in view when there are too many.
        places = wrong.arg_true()
        self._places = places.gather_every(-(-len(places) // LAG_ROWS_MAX)) if len(places) else places
        self._values: dict[int, pl.DataFrame] = {}
        if len(places):
            self._values = offline.at(rows[self._places], seconds_before=LAGS_SECONDS)

    def lag(self, name: str, wrong: pl.Series) -> Lag | None:
        """Return what explains the mismatches of one feature; None when none of its rows is among those looked at."""
        looked_at = wrong.gather(self._places)
        served = self._pairs[name]["served"].gather(self._places).filter(looked_at)
        if not len(served):
            return None
        return estimate_lag(served, {seconds: values[name].filter(looked_at) for seconds, values in self._values.items()})


def _main_version(rows: pl.DataFrame) -> str:
    """Return the version that answered most of these rows; of two with the same number, the first by name."""
    if not rows.height:
        return ""
    counts = rows.group_by("version").len().sort("len", "version", descending=[True, False])
    return str(counts["version"][0])
