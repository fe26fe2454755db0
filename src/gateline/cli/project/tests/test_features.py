"""The features say what they should, and none of them sees the future."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from features import deliveries, late_parcel
from make_data import DAYS, PARCELS_PER_DAY, make_data

from gateline.features import compute, find_leaks


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("data")
    rows = pl.read_csv(make_data(folder)).with_columns(
        pl.col("shipped_at", "delivered_at").str.to_datetime(time_unit="us", time_zone="UTC")
    )
    rows.write_parquet(folder / "parcels.parquet")
    return {"parcels": [folder / "parcels.parquet"]}


def test_every_parcel_has_one_row(tables: dict[str, list[Path]]) -> None:
    rows = compute(late_parcel, tables)
    assert rows.height == DAYS * PARCELS_PER_DAY
    assert rows["row_id"].is_unique().all()


def test_no_feature_sees_the_future(tables: dict[str, list[Path]]) -> None:
    assert find_leaks(late_parcel, tables, seed=1) == []


def test_a_feature_that_sees_the_future_is_found(tables: dict[str, list[Path]]) -> None:
    too_early = replace(deliveries, columns={**deliveries.columns, "shipped": "shipped_at"}, available_at="shipped")
    leaking = replace(late_parcel, views=(replace(late_parcel.views[0], source=too_early),))
    assert {leak.feature for leak in find_leaks(leaking, tables, seed=1)} == {
        "hub_hours_over_1d",
        "hub_deliveries_1d",
    }
