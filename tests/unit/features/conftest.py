"""A small shop: orders are asked about, payments arrive late, prices are known by the day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from gateline.features import FeatureSet, Label, Latest, Lookup, OnDemand, Source, Window

NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)


def minutes(*offsets: float | None) -> list[datetime | None]:
    return [None if offset is None else NOON + timedelta(minutes=offset) for offset in offsets]


def instants(*offsets: float | None) -> pl.Series:
    return pl.Series(minutes(*offsets), dtype=pl.Datetime("us", "UTC"))


ORDERS = Source(
    name="orders",
    dataset="orders",
    columns={"id": "id", "shop": "shop", "asked": "asked", "day": "STRFTIME(asked, '%Y-%m-%d')", "amount": "amount"},
    event_time="asked",
    available_at="asked",
)
PAYMENTS = Source(
    name="payments",
    dataset="payments",
    columns={"shop": "shop", "delay": "delay", "paid": "paid", "known": "known"},
    event_time="paid",
    available_at="known",
)
SHOPS = Source(
    name="shops",
    dataset="shops",
    columns={"shop": "shop", "size": "size", "known": "CAST('2013-01-01T00:00:00Z' AS TIMESTAMPTZ)"},
    event_time="known",
    available_at="known",
)
VIEW = FeatureSet(
    name="late_payment",
    spine=ORDERS,
    entity="id",
    time="asked",
    parts=(
        Window(name="mean_delay", source=PAYMENTS, key="shop", column="delay", aggregate="mean", window_seconds=900),
        Latest(name="last", source=PAYMENTS, key="shop", features={"last_delay": "delay"}, max_age_seconds=1800),
        Lookup(name="shop", source=SHOPS, key="shop", features={"size": "size"}),
    ),
    columns=("amount", "shop"),
    on_demand=(OnDemand(name="amount_per_size", sql="amount / size"),),
    label=Label(source=ORDERS, sql="late", available_at="settled"),
    unit="day",
    slices=("shop",),
    categorical=("shop",),
)


@pytest.fixture
def feature_set() -> FeatureSet:
    return VIEW


@pytest.fixture
def frames() -> dict[str, pl.DataFrame]:
    return {
        "orders": pl.DataFrame(
            {
                "id": ["o3", "o1", "o2"],
                "shop": ["a", "a", None],
                "asked": instants(20, 0, 5),
                "amount": [30, 10, 20],
                "late": [True, None, False],
                "settled": instants(100, 90, 80),
            }
        ),
        "payments": pl.DataFrame(
            {
                "shop": ["a", "a", "a", "b", "a"],
                "delay": [1.0, 3.0, float("nan"), 9.0, 5.0],
                "paid": instants(-20, -2, -3, 0, 9),
                "known": instants(0, 10, 12, 0, None),
            }
        ),
        "shops": pl.DataFrame({"shop": ["a", "b"], "size": [4, 5]}),
    }


@pytest.fixture
def tables(frames, tmp_path):
    paths = {}
    for name, frame in frames.items():
        paths[name] = [tmp_path / f"{name}.parquet"]
        frame.write_parquet(paths[name][0])
    return paths


@pytest.fixture
def changed(tmp_path, tables):
    """Write other frames beside the tables and return the paths."""

    def change(**frames: pl.DataFrame):
        for name, frame in frames.items():
            frame.write_parquet(tables[name][0])
        return tables

    return change


def with_payments(feature_set: FeatureSet, **changes) -> FeatureSet:
    """Return the set with another payments source in every part that reads it."""
    source = replace(PAYMENTS, **changes)
    return replace(
        feature_set, parts=tuple(replace(part, source=source) if part.source == PAYMENTS else part for part in feature_set.parts)
    )
