"""What is read online at any time that is still answered equals what all events say, however and how often they were delivered."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateline.features import Aggregate, Aggregation, EventSource, LatestView, LookupView, WindowView
from gateline.features.online.state import EVERYTHING
from gateline.features.online.views import state_of
from gateline.kernel.clock import SECOND
from tests.support.features_oracle import expected, same

STEP = 10 * SECOND
COLUMNS = ("happened", "known", "id", "whole", "fraction", "word", "below")
KINDS = {"happened": "i", "known": "i", "id": "i", "whole": "i", "fraction": "f", "word": "o", "below": "i"}
SOURCE = EventSource(
    name="events", dataset="data", columns={alias: alias for alias in ("key", *COLUMNS)}, event_time="happened", available_at="known",
    tie_breaker=("whole",), event_id=("id",),
)  # fmt: skip
NUMBERS = [one for one in Aggregate if one not in {Aggregate.LAST_K, Aggregate.RATIO, Aggregate.APPROX_DISTINCT}]
AGGREGATIONS = (
    *(Aggregation(one, column) for one in NUMBERS for column in ("whole", "fraction")),
    Aggregation("last_k", "word", k=3),
    Aggregation("first", "word"),
    Aggregation("approx_distinct", "word"),
    Aggregation("ratio", "whole", denominator="below"),
    Aggregation("count"),
)
EXACT = WindowView(name="exact", source=SOURCE, entity="key", aggregations=AGGREGATIONS, windows=("20s", "50s"), offset=10)
HOPPING = WindowView(name="hopping", source=SOURCE, entity="key", aggregations=AGGREGATIONS, windows=("30s", "60s"), hop=20)
NEWEST = LatestView(name="newest", source=SOURCE, entity="key", features=("whole", "fraction", "word"), max_age="40s", offset=10)
TABLE = LookupView(name="table", source=SOURCE, entity="key", features=("whole", "word"))

# A coarse grid of seconds makes ties, empty windows and values exactly on a window's edge common.
moments = st.integers(0, 20).map(lambda step: step * STEP)
whole = st.one_of(st.none(), st.integers(-(10**6), 10**6))
fractions = st.one_of(st.none(), st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: value + 0.0))
words = st.sampled_from([None, "a", "b", "c"])
rows = st.lists(
    st.tuples(moments, moments, whole, fractions, words, st.one_of(st.none(), st.integers(0, 9))).map(
        lambda row: dict(zip(("happened", "known", "whole", "fraction", "word", "below"), row, strict=True))
    ),
    max_size=30,
).map(lambda found: [{**row, "id": number} for number, row in enumerate(found)])


def event(state: Any, row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["happened"], row["known"], row["id"].to_bytes(16, "little"), *(row[alias] for alias in state.carried))


def kinds(state: Any) -> tuple[str, ...]:
    return tuple(KINDS[alias] for alias in state.carried)


def check(view: Any, state: Any, blob: bytes | None, known: list[dict[str, Any]], t: int) -> None:
    found = state.empty() if blob is None else state.read(blob, t)
    wanted: dict[str, Any] = {}
    for part in view.parts:
        wanted |= expected(part, known, t)
    values = dict(zip(state.features, found.values, strict=True))
    assert {name: (values[name], value) for name, value in wanted.items() if not same(values[name], value)} == {}


@settings(max_examples=40)
@given(st.sampled_from([EXACT, HOPPING, NEWEST, TABLE]), rows, st.data())
def test_any_order_any_batches_and_any_repetition_give_what_all_events_say(view, rows, data):
    state, blob = state_of(view), None
    delivered = data.draw(st.permutations([*rows, *rows[::2]]))
    size = data.draw(st.integers(1, 8))
    for start in range(0, len(delivered), size):
        batch = [event(state, row) for row in delivered[start : start + size]]
        blob = state.merge(blob, batch, kinds(state), 0, None)[0] or blob
    for t in {0, 5 * STEP, 12 * STEP, 15 * STEP + STEP // 2, 20 * STEP, 24 * STEP}:
        check(view, state, blob, rows, t)


@settings(max_examples=40)
@given(st.sampled_from([EXACT, HOPPING, NEWEST, TABLE]), rows, st.integers(0, 5), st.data())
def test_events_delivered_within_lateness_leave_every_time_that_is_answered_right(view, rows, lateness, data):
    state, blob = state_of(view), None
    jitter = data.draw(st.lists(st.integers(0, lateness), min_size=len(rows), max_size=len(rows)))
    order = sorted(range(len(rows)), key=lambda place: rows[place]["known"] + jitter[place] * STEP)
    watermark, known = 0, []
    for place in order:
        watermark = max(watermark, rows[place]["known"])
        known.append(rows[place])
        for row in (rows[place], *data.draw(st.lists(st.sampled_from(known), max_size=2))):
            merged, taken = state.merge(blob, [event(state, row)], kinds(state), watermark - lateness * STEP, EVERYTHING)
            assert not taken.late or row is not rows[place]
            blob = merged or blob
        # What is delivered later was available later than the horizon, so times up to it are settled, and later ones follow the events.
        for t in {watermark - lateness * STEP, watermark, watermark + 3 * STEP}:
            check(view, state, blob, known, t)


@given(st.sampled_from([EXACT, HOPPING, NEWEST, TABLE]), rows)
def test_nothing_that_becomes_available_later_is_seen(view, rows):
    state = state_of(view)
    blob, _ = state.merge(None, [event(state, row) for row in rows], kinds(state), 0, None)
    for t in (5 * STEP, 10 * STEP):
        before, _ = state.merge(None, [event(state, row) for row in rows if row["known"] <= t], kinds(state), 0, None)
        assert (state.read(blob, t) if blob else state.empty()).values == (state.read(before, t) if before else state.empty()).values


@given(st.sampled_from([EXACT, HOPPING, NEWEST, TABLE]), rows)
def test_delivering_everything_again_changes_nothing(view, rows):
    state = state_of(view)
    events = [event(state, row) for row in rows]
    blob, _ = state.merge(None, events, kinds(state), 100 * SECOND, EVERYTHING)
    if blob is not None:
        again, taken = state.merge(blob, events, kinds(state), 100 * SECOND, EVERYTHING)
        assert again is None
        assert taken.taken == taken.conflicting == 0
