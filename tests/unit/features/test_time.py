"""Time stamps as they come: daylight saving, several zones, none at all, histories shorter than the window, several files."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from gateline.features import EventSource, Plan, compute
from gateline.features.declarations.plan import Latest, Window
from gateline.kernel.errors import InvalidInput

NEW_YORK, BERLIN = ZoneInfo("America/New_York"), ZoneInfo("Europe/Berlin")
EVENTS = EventSource(name="events", dataset="events", columns={"key": "key", "at": "at", "n": "n"}, event_time="at", available_at="at")
REQUESTS = EventSource(name="requests", dataset="requests", columns={"id": "id", "key": "key", "t": "t"}, event_time="t", available_at="t")


def window(**changes) -> Window:
    return replace(Window(name="total", source=EVENTS, key="key", column="n", aggregate="sum", window_seconds=3600), **changes)


def plan(*parts, **changes) -> Plan:
    return replace(Plan(name="times", spine=REQUESTS, entity="id", time="t", parts=parts), **changes)


@pytest.fixture
def tables(tmp_path):
    """Write events (key a, numbered from 1) and requests at given times, and return their tables."""

    def written(events: pl.Series, requests: pl.Series):
        frames = {
            "events": pl.DataFrame({"key": "a", "at": events}).with_columns(n=pl.int_range(1, pl.len() + 1, dtype=pl.Int64)),
            "requests": pl.DataFrame({"key": "a", "t": requests}).with_columns(id=pl.int_range(pl.len(), dtype=pl.Int64)),
        }
        for name, frame in frames.items():
            frame.write_parquet(tmp_path / f"{name}.parquet")
        return {name: tmp_path / f"{name}.parquet" for name in frames}

    return written


def zoned(zone: ZoneInfo, *instants: datetime) -> pl.Series:
    return pl.Series([one.astimezone(zone) for one in instants], dtype=pl.Datetime("ns", zone.key))


def utc(*clock: tuple[int, ...]) -> list[datetime]:
    return [datetime(2013, *one, tzinfo=UTC) for one in clock]


def test_a_window_is_elapsed_time_across_daylight_saving(tables):
    # On 3 November 2013 New York has 1:30 twice, 5:30 and 6:30 UTC; on 10 March 1:30 and 3:30 are an hour apart.
    events = utc((3, 10, 6, 30), (11, 3, 5, 30), (11, 3, 6, 30))
    requests = utc((3, 10, 7, 29), (3, 10, 7, 30), (11, 3, 6, 29), (11, 3, 6, 30), (11, 3, 7, 29), (11, 3, 7, 30))
    found = compute(plan(window()), tables(zoned(NEW_YORK, *events), zoned(NEW_YORK, *requests)))
    assert found["total"].to_list() == [1, None, 2, 3, 3, None]
    assert found["t"].to_list() == requests


def test_sources_of_several_zones_meet_in_utc(tables):
    events = utc((7, 1, 12, 0), (7, 1, 12, 30))
    requests = utc((7, 1, 11, 59), (7, 1, 12, 0), (7, 1, 12, 59), (7, 1, 13, 0))
    expected = [None, 1, 3, 2]
    assert compute(plan(window()), tables(zoned(BERLIN, *events), zoned(NEW_YORK, *requests)))["total"].to_list() == expected
    assert compute(plan(window()), tables(zoned(NEW_YORK, *events), zoned(BERLIN, *requests)))["total"].to_list() == expected


def test_a_time_stamp_without_zone_is_refused_until_a_zone_is_declared(tables):
    moments = [datetime(2013, 7, 1, 12), datetime(2013, 7, 1, 12, 30)]
    written = tables(pl.Series(moments, dtype=pl.Datetime("us")), zoned(BERLIN, *utc((7, 1, 12, 45))))
    with pytest.raises(InvalidInput, match="'at' of source 'events' is .*, not a time stamp with a zone") as error:
        compute(plan(window()), written)
    assert "CAST(… AS TIMESTAMPTZ)" in error.value.next_step
    declared = replace(EVENTS, columns={**EVENTS.columns, "at": "CAST(at AS TIMESTAMPTZ)"})
    assert compute(plan(window(source=declared)), written)["total"].to_list() == [3]


def test_a_time_as_text_is_refused(tables):
    written = tables(pl.Series(["2013-07-01T12:00:00Z"]), zoned(BERLIN, *utc((7, 1, 12, 45))))
    with pytest.raises(InvalidInput, match="is String, not a time stamp with a zone"):
        compute(plan(window()), written)


def test_a_window_longer_than_history_holds_all_of_it(tables):
    written = tables(zoned(BERLIN, *utc((7, 1, 12, 0), (7, 1, 12, 30))), zoned(BERLIN, *utc((1, 1, 0, 0), (7, 2, 0, 0))))
    hopped = window(name="hopped", window_seconds=100 * 366 * 86_400, hop_seconds=86_400)
    newest = Latest(name="newest", source=EVENTS, key="key", features={"newest": "n"}, max_age_seconds=200 * 366 * 86_400)
    found = compute(plan(window(window_seconds=100 * 366 * 86_400), hopped, newest), written)
    assert found.select("total", "hopped", "newest").rows() == [(None, None, None), (3, 3, 2)]


def test_a_hop_window_begins_at_a_multiple_of_the_hop(tables):
    events = utc((7, 1, 12, 0), (7, 1, 12, 1), (7, 1, 12, 15))
    requests = utc((7, 1, 13, 0), (7, 1, 13, 14), (7, 1, 13, 15), (7, 1, 13, 29), (7, 1, 13, 30))
    found = compute(plan(window(hop_seconds=900)), tables(zoned(BERLIN, *events), zoned(BERLIN, *requests)))
    # Begins at 12:00 (open) up to 13:14, and at 12:15 up to 13:29.
    assert found["total"].to_list() == [5, 5, None, None, None]


def test_a_hop_window_before_1970_begins_before_its_exact_beginning(tables):
    moments = [datetime(1969, 12, 31, 22, 59, tzinfo=UTC), datetime(1969, 12, 31, 23, 30, tzinfo=UTC)]
    found = compute(plan(window(hop_seconds=900)), tables(zoned(BERLIN, moments[0]), zoned(BERLIN, moments[1])))
    assert found["total"].to_list() == [1]
    exact = compute(plan(window(hop_seconds=900)), tables(zoned(BERLIN, moments[0] - timedelta(minutes=29)), zoned(BERLIN, moments[1])))
    assert exact["total"].to_list() == [None]


def test_a_table_of_several_files_is_one_table(tables, tmp_path):
    written = tables(zoned(BERLIN, *utc((7, 1, 12, 0), (7, 1, 12, 30))), zoned(BERLIN, *utc((7, 1, 12, 45), (7, 1, 13, 0))))
    parts = []
    for place, row in enumerate(pl.read_parquet(written["events"]).iter_slices(1)):
        parts.append(tmp_path / f"part{place}.parquet")
        row.write_parquet(parts[-1])
    expected = compute(plan(window()), written)
    assert compute(plan(window()), {**written, "events": parts}).equals(expected)


def test_an_event_delivered_twice_counts_once_and_two_of_one_id_are_refused(tables):
    identified = replace(EVENTS, event_id=("at",))
    twice = tables(zoned(BERLIN, *utc((7, 1, 12, 0))), zoned(BERLIN, *utc((7, 1, 12, 45))))
    row = pl.read_parquet(twice["events"])
    pl.concat([row, row]).write_parquet(twice["events"])
    assert compute(plan(window()), twice)["total"].to_list() == [2]
    assert compute(plan(window(source=identified)), twice)["total"].to_list() == [1]
    pl.concat([row, row, row.with_columns(n=pl.col("n") + 6)]).write_parquet(twice["events"])
    with pytest.raises(InvalidInput, match=r"source 'events', different rows have the same event id \(at\): 1, for example"):
        compute(plan(window(source=identified)), twice)
    anonymous = replace(EVENTS, columns={**EVENTS.columns, "id": "NULLIF(n, 1)"}, event_id=("id",))
    with pytest.raises(InvalidInput, match=r"In source 'events', 2 rows have no event id \(id\)"):
        compute(plan(window(source=anonymous)), twice)


def test_a_partition_without_rows_is_refused(tables):
    with pytest.raises(InvalidInput, match="at least 1 row, not 0"):
        compute(plan(window()), tables(zoned(BERLIN, *utc((7, 1, 12))), zoned(BERLIN, *utc((7, 1, 12)))), partition_rows=0)
