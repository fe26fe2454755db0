"""A batch of many entities leaves, to the byte, what merging each entity's events by themselves leaves."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateline.features import Aggregation, EventSource, LatestView, LookupView, SqliteOnlineStore, WindowView
from gateline.features.online.rows import events_of, key_text
from gateline.features.online.state import Taken
from gateline.features.online.views import OnlineView, OnlineViews, state_of
from gateline.kernel.clock import SECOND
from gateline.kernel.errors import Conflict

STEP = 10 * SECOND
START = datetime(2013, 1, 1, tzinfo=UTC)
ORIGIN = int(START.timestamp()) * SECOND
SCHEMA = {
    "key": pl.String(), "part": pl.Int64(), "happened": pl.Datetime("us", "UTC"), "known": pl.Datetime("us", "UTC"), "id": pl.Int64(),
    "whole": pl.Int64(), "fraction": pl.Float64(), "word": pl.String(), "flag": pl.Boolean(), "day": pl.Date(),
}  # fmt: skip
SOURCE = EventSource(
    name="events", dataset="data", columns={alias: alias for alias in SCHEMA}, event_time="happened", available_at="known",
    event_id=("id",), lateness_seconds=20,
)  # fmt: skip
NUMBERS = LatestView(name="numbers", source=SOURCE, entity="key", features=("whole", "fraction", "day"), max_age="40s", offset=10)
WORDS = LookupView(name="words", source=SOURCE, entity=("key", "part"), features=("word", "whole", "flag"))
MANY = LatestView(
    name="many", source=SOURCE, entity="key", features={f"f{number}": "fraction" for number in range(70)}, max_age="1d"
)  # fmt: skip
TOTALS = WindowView(name="totals", source=SOURCE, entity="key", windows=("30s",), hop=10, aggregations=(Aggregation("sum", "fraction"),))

moments = st.integers(0, 12).map(lambda step: START + timedelta(microseconds=step * STEP))
rows = st.lists(
    st.fixed_dictionaries({
        "key": st.sampled_from(["a", 'b"', "é", "", None]), "part": st.integers(0, 1), "happened": moments, "known": moments,
        "id": st.integers(0, 1_000), "whole": st.sampled_from([None, 0, -7, 1 << 62]), "fraction": st.sampled_from([None, 0.0, -0.0, 2.5]),
        "word": st.sampled_from([None, "", "x"]), "flag": st.sampled_from([None, True, False]),
        "day": st.sampled_from([None, date(1969, 12, 31), date(2024, 2, 29)]),
    }),
    max_size=25,
)  # fmt: skip


def frame(batch):
    return pl.DataFrame(batch, schema=SCHEMA)


@settings(max_examples=80)
@given(st.sampled_from([NUMBERS, WORDS, MANY, TOTALS]), st.lists(rows, min_size=1, max_size=4), st.data())
def test_a_batch_leaves_what_merging_entity_by_entity_leaves(view, batches, data):
    state, kept, horizon, covered = state_of(view), {}, ORIGIN, None
    keys = OnlineView(view=view).keys
    for batch in [*batches, batches[0]]:
        found = events_of(SOURCE, frame(batch), keys, state.carried, identified=state.identified)
        horizon = max(horizon, ORIGIN + data.draw(st.integers(0, 14)) * STEP)
        covered = data.draw(st.sampled_from([covered, horizon]))
        all_places = range(len(found.keys))
        singly = [
            state.merge(kept.get(key), events, found.kinds, horizon, covered)
            for key, events in zip(found.keys, found.of(all_places), strict=True)
        ]
        less = state.reduced(found, horizon - data.draw(st.integers(0, 3)) * STEP)
        assert less.keys == found.keys
        cut = data.draw(st.integers(0, len(less.keys)))
        at_once, taken = [], [Taken(known=less.passed)]
        for places in (range(cut), range(cut, len(less.keys))):
            blobs, its = state.merge_all([kept.get(less.keys[place]) for place in places], less, places, horizon, covered)
            at_once += blobs
            taken.append(its)
        assert at_once == [blob for blob, _ in singly]
        assert Taken.total(taken) == Taken.total([its for _, its in singly])
        kept |= {key: blob for key, blob in zip(found.keys, at_once, strict=True) if blob is not None}


@settings(max_examples=40)
@given(rows)
def test_the_events_of_a_batch_are_its_usable_rows_by_key(batch):
    found = events_of(SOURCE, frame(batch), ("key",), ("whole", "word"))
    assert found.keys == sorted(found.keys, key=str.encode)
    usable = [row for row in batch if row["key"] is not None]
    assert sum(len(own) for own in found.of(range(len(found.keys)))) == len(usable) == found.columns.height
    for key, own in zip(found.keys, found.of(range(len(found.keys))), strict=True):
        wanted = [row for row in usable if key_text([row["key"]]) == key]
        assert [event[3:] for event in own] == [(row["whole"], row["word"]) for row in wanted]
        assert [event[0] for event in own] == [int(row["happened"].timestamp()) * SECOND for row in wanted]
    assert found.newest == max((int(row["known"].timestamp()) * SECOND for row in usable), default=None)


def test_a_batch_of_more_entities_than_a_commit_holds_is_taken_in_whole_and_once(tmp_path, monkeypatch):
    monkeypatch.setattr("gateline.features.online.views._ENTRIES_MAX", 100)
    store = SqliteOnlineStore(tmp_path / "online.db")
    online, views = OnlineViews(store), [OnlineView(view=NUMBERS), OnlineView(view=TOTALS)]
    nothing = dict.fromkeys(SCHEMA)
    batch = [
        nothing
        | {"key": f"k{number * 7 % 250}", "happened": START, "known": START, "id": number, "fraction": 1.0 * number, "whole": number}
        for number in range(250)
    ]
    sizes, commit = [], store.commit
    monkeypatch.setattr(store, "commit", lambda changes, marks: sizes.append(len(changes)) or commit(changes, marks))
    taken = online.take_in(views, frame(batch), ORIGIN)
    assert {one.taken for one in taken.values()} == {250}
    assert sizes == [100] * 5
    readings = online.read(views[0], [f'["k{number * 7 % 250}"]' for number in range(250)], ORIGIN + 10 * SECOND)
    assert views[0].state.features == ("day", "fraction", "whole")
    assert [reading.values for reading in readings] == [(None, 1.0 * number, number) for number in range(250)]
    again = online.take_in(views, frame(batch), ORIGIN)
    assert {(one.taken, one.known) for one in again.values()} == {(0, 250)}
    store.close()


def test_a_batch_whose_types_changed_is_refused_and_writes_nothing(tmp_path):
    store = SqliteOnlineStore(tmp_path / "online.db")
    online, view = OnlineViews(store), OnlineView(view=NUMBERS)
    row = dict.fromkeys(SCHEMA) | {"key": "a", "happened": START, "known": START, "id": 1, "whole": 1, "fraction": 1.0}
    online.take_in([view], frame([row]), ORIGIN)
    before = store.get_many(view.fingerprint, ['["a"]', '["b"]'])
    changed = frame([row | {"id": 2}, row | {"id": 3, "key": "b"}]).with_columns(pl.col("whole").cast(pl.Float64))
    with pytest.raises(Conflict, match="columns whole have another type"):
        online.take_in([view], changed, ORIGIN)
    assert store.get_many(view.fingerprint, ['["a"]', '["b"]']) == before
    store.close()


def test_zero_is_one_entity_and_one_value_whatever_its_sign():
    batch = [
        dict.fromkeys(SCHEMA) | {"happened": START, "known": START, "id": number, "fraction": zero}
        for number, zero in enumerate([0.0, -0.0])
    ]
    found = events_of(SOURCE, frame(batch), ("fraction",), ("fraction",))
    assert found.keys == ["[0.0]"]
    assert {str(event[3]) for event in found.of([0])[0]} == {"0.0"}
