"""Sums, means, ratios and spreads are the same to the last bit online, by tiles, and offline: for any numbers that 64 bits hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateline.features import Aggregation, EventSource, Plan, WindowView
from gateline.features.engine.point_in_time import Prepared, assemble
from gateline.features.online.aggregates import summary, value
from gateline.features.online.state import EVERYTHING, State, decode, encode
from gateline.features.online.views import state_of
from gateline.kernel.clock import SECOND
from gateline.kernel.errors import Conflict

START = datetime(2013, 1, 1, tzinfo=UTC)
ZERO = round(START.timestamp()) * SECOND
INSTANT = pl.Datetime("us", "UTC")
ROWS_MAX = 24
SOURCE = EventSource(
    name="events", dataset="data", columns={name: name for name in ("key", "at", "id", "n", "m", "x", "y")}, event_time="at",
    available_at="at", event_id=("id",),
)  # fmt: skip
REQUESTS = EventSource(name="requests", dataset="data", columns={"id": "id", "key": "key", "t": "t"}, event_time="t", available_at="t")
KINDS = {"n": "i", "m": "i", "x": "f", "y": "f"}
AGGREGATIONS = (
    *(Aggregation(name, column) for name in ("sum", "mean", "var", "std") for column in ("n", "x")),
    Aggregation("ratio", "n", denominator="m"), Aggregation("ratio", "x", denominator="y"), Aggregation("ratio", "m", denominator="x"),
)  # fmt: skip
WHOLE = WindowView(name="whole", source=SOURCE, entity="key", aggregations=AGGREGATIONS, windows=("40s", "90s"))
TILES = WindowView(name="tiles", source=SOURCE, entity="key", aggregations=AGGREGATIONS, windows=("40s", "90s"), hop="20s")

# Rows that can be added up in 64 bits, far beyond the whole numbers that fractions hold; and fractions of every size.
whole = st.one_of(st.none(), st.integers(-3, 3), st.integers(-(2**57), 2**57), st.integers(2**53, 2**53 + 9))
fraction = st.one_of(
    st.none(), st.sampled_from([0.1, 1e16, -1e16, 1e308, -1e308, 1.7e308, 5e-324, -1e-310]), st.floats(-1e6, 1e6),
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
rows = st.lists(st.tuples(st.integers(1, 10), whole, whole, fraction, fraction), min_size=1, max_size=ROWS_MAX)


def offline(view: WindowView, events: list[tuple], seconds: int) -> dict[str, object]:
    table = [("a", START + timedelta(seconds=10 * step), place, *values) for place, (step, *values) in enumerate(events)]
    types = {"key": pl.String, "at": INSTANT, "id": pl.Int64, "n": pl.Int64, "m": pl.Int64, "x": pl.Float64, "y": pl.Float64}
    spine = pl.DataFrame({"id": "0", "key": "a", "t": START + timedelta(seconds=seconds)}, schema_overrides={"t": INSTANT})
    plan = Plan(name="tried", spine=REQUESTS, entity="id", time="t", parts=view.parts)
    found = assemble(plan, Prepared(spine=spine, sources={"events": pl.DataFrame(table, schema=types, orient="row")}))
    return {name: found[name].item() for name in plan.features}


def online(view: WindowView, events: list[tuple], seconds: int, horizon: int) -> dict[str, object]:
    """The features after events came one by one; those before the horizon were summed up in tiles when the view has any."""
    state, blob = state_of(view), None
    for place, (step, *values) in enumerate(events):
        at = ZERO + 10 * step * SECOND
        named = dict(zip(("n", "m", "x", "y"), [0.0 if one == 0 and isinstance(one, float) else one for one in values], strict=True))
        event = (at, at, place.to_bytes(16, "little"), *(named[alias] for alias in state.carried))
        blob = state.merge(blob, [event], tuple(KINDS[alias] for alias in state.carried), 0, None)[0] or blob
    blob = state.merge(blob, [], (), ZERO + horizon * SECOND, EVERYTHING)[0] or blob
    return dict(zip(state.features, state.read(blob, ZERO + seconds * SECOND).values, strict=True))


@settings(max_examples=150)
@given(st.sampled_from([WHOLE, TILES]), rows, st.integers(0, 10))
def test_the_features_of_any_numbers_are_the_same_bits_online_and_offline(view, events, horizon):
    wanted = offline(view, events, 100)
    found = online(view, events, 100, 10 * horizon)
    assert {name: (found[name], one) for name, one in wanted.items() if found[name] != one or type(found[name]) is not type(one)} == {}


@given(st.lists(st.floats(-1e9, 1e9), min_size=65, max_size=90), st.sampled_from(["sum", "mean", "var", "std"]))
def test_many_values_at_once_give_what_few_give(values, aggregate):
    (part,) = WindowView(
        name="one", source=SOURCE, entity="key", aggregations=(Aggregation(aggregate, "x"),), windows=("40s",)
    ).parts  # fmt: skip
    tiles = [decode(encode(summary(part, values[start : start + 9], exact=True))) for start in range(0, len(values), 9)]
    assert value(part, [summary(part, np.array(values))]) == value(part, [summary(part, values)]) == value(part, tiles)


def first_form(blob: bytes) -> bytes:
    """The blob as the first version of Gateline wrote it, which named no form."""
    return encode(decode(blob)[1:])


def state_and_blob(view: WindowView) -> tuple[State, bytes]:
    """A state of a hundred events, which a view with a hop has summed up in tiles."""
    state, values = state_of(view), {"n": 1, "m": 1, "x": 0.5, "y": 0.5}
    carried = tuple(values[alias] for alias in state.carried)
    events = [(place * SECOND, place * SECOND, place.to_bytes(16, "little"), *carried) for place in range(100)]
    blob, _ = state.merge(None, events, tuple(KINDS[alias] for alias in state.carried), 80 * SECOND, EVERYTHING)
    assert blob is not None
    return state, blob


def test_a_state_of_events_in_the_first_form_is_read():
    state, blob = state_and_blob(WHOLE)
    assert state.read(first_form(blob), 99 * SECOND) == state.read(blob, 99 * SECOND)


def test_a_state_with_sums_that_another_version_rounded_is_refused():
    state, blob = state_and_blob(TILES)
    for other in (first_form(blob), encode([99, *decode(blob)[1:]])):
        with pytest.raises(Conflict, match="in the form of another version.*gateline feature remove"):
            state.read(other, 99 * SECOND)
        with pytest.raises(Conflict, match="in the form of another version"):
            state.merge(other, [], (), 0, None)
