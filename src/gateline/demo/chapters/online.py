"""Part of chapter 6: the features of the first requests, read from the online store at their very time, against the offline ones."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import polars as pl

from gateline.kernel.clock import DAY, SECOND, iso
from gateline.kernel.errors import IntegrityFailure
from gateline.sdk.features import tables
from gateline.sdk.online import feature_view, materialise, online_features

if TYPE_CHECKING:
    from gateline.demo.stage import Stage
    from gateline.features import FeatureSetVersion
    from gateline.kernel.clock import Instant

INTERVAL_SECONDS = 366 * DAY // SECOND
"""One interval takes the quarter in: 90,000 rows are no burden for memory, and every interval reads the tables again."""
_AGES = ((2 * 86_400, 86_400, "d"), (2 * 3_600, 3_600, "h"), (0, 60, "min"))


def tell_online(stage: Stage, flights: pl.DataFrame) -> None:
    """Bring the views online up to a busy minute of the first day, and compare every flight that is asked about then.

    Args:
        stage: The stage.
        flights: `row_id`, `t` and the offline features of all flights to be replayed, in order of `t`.

    Raises:
        IntegrityFailure: a value read online is not the offline one.
    """
    developer, version = stage.client("developer"), stage.facts["feature_set"]
    at, offline = _busiest(flights, [feature.name for feature in version.features])
    started, rows = time.monotonic(), 0
    views = [view.name for view in version.definition.views]
    for name in views:
        newest = feature_view(developer, name)["versions"][-1]["id"]
        rows += materialise(developer, newest, end=iso(at), interval_seconds=INTERVAL_SECONDS)["rows"]
    seconds = time.monotonic() - started
    told = f"{rows:,} rows in {seconds:.1f} s, {rows / seconds:,.0f} rows/s" if rows else "they were there already"
    stage.teller.say(f"{len(views)} views of the set go online as of {iso(at)[:16]}Z: {told}", "ok")
    requests = _requests(stage, version, at)
    answer = online_features(developer, version.id, requests, at)
    _compare(offline, {request["flight_id"]: row["features"] for request, row in zip(requests, answer["rows"], strict=True)}, version)
    ages = ", ".join(f"{name} {_age(one['age_seconds'])}" for name, one in answer["rows"][0]["views"].items())
    compared = len(version.features) * offline.height
    stage.teller.say(
        f"{requests[0]['flight_id']} read online at its request time: {len(version.features)} features as offline, age of values: {ages}; "
        f"all {compared:,} values of the {offline.height:,} flights of that minute agree",
        "ok",
    )
    stage.facts["online"] = {"rows": rows, "seconds": round(seconds, 2), "values_compared": compared}


def _busiest(flights: pl.DataFrame, features: list[str]) -> tuple[Instant, pl.DataFrame]:
    """Return the minute of the first day at which most flights are asked about whose features are all known, and all flights of it."""
    first = flights.filter(pl.col("t") < pl.col("t").min() + pl.duration(days=1))
    busiest = first.drop_nulls(features).group_by("t").len().sort("len", "t", descending=[True, False])["t"][0]
    chosen = first.filter(pl.col("t") == busiest)
    return chosen["t"].dt.timestamp("us")[0], chosen


def _requests(stage: Stage, version: FeatureSetVersion, at: Instant) -> list[dict[str, Any]]:
    """Return what the requests of a minute say of themselves: the columns of the spine."""
    spine = version.definition.spine
    paths = tables(stage.client("developer"), version)[spine.dataset]
    asked = pl.sql_expr(spine.columns[version.definition.time]).dt.timestamp("us") == at
    wanted = [pl.sql_expr(sql).alias(alias) for alias, sql in spine.columns.items()]
    return pl.scan_parquet(list(paths)).filter(asked).select(wanted).collect().to_dicts()


def _compare(offline: pl.DataFrame, online: dict[str, dict[str, Any]], version: FeatureSetVersion) -> None:
    for row in offline.to_dicts():
        for feature in version.features:
            there, here = row[feature.name], online[row["row_id"]][feature.name]
            if not (math.isclose(there, here, rel_tol=1e-9) if isinstance(there, float) and isinstance(here, float) else there == here):
                raise IntegrityFailure(
                    f"'{feature.name}' of {row['row_id']} is {here!r} online and {there!r} offline.",
                    next_step="Find out which of the two is right: gateline feature parity SET replays many requests.",
                    facts={"row": row["row_id"], "feature": feature.name},
                )


def _age(seconds: float | None) -> str:
    """Return an age as people say it.

    >>> _age(3_600), _age(7_200), _age(90 * 86_400), _age(None)
    ('60 min', '2 h', '90 d', 'none')
    """
    if seconds is None:
        return "none"
    unit, name = next((unit, name) for least, unit, name in _AGES if seconds >= least)
    return f"{seconds / unit:.0f} {name}"
