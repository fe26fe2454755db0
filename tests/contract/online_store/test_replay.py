"""The replay proof holds on whichever store is used."""

import polars as pl

from gateline.features import replay_parity
from tests.unit.features.online.conftest import ORDERED, PAID, SHOPPING, SIZES


def test_the_replay_of_a_shop_agrees_in_every_value(store, tmp_path):
    tables = {}
    for name, text in (("payments", PAID), ("orders", ORDERED), ("shops", SIZES)):
        tables[name] = tmp_path / f"{name}.parquet"
        pl.read_csv(text.encode(), try_parse_dates=True).write_parquet(tables[name])
    report = replay_parity(SHOPPING, tables, seed=4, store=store)
    assert [one.as_dict() for one in report.features if not one.agrees] == []
    assert report.requests == 3
