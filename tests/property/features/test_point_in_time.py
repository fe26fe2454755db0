"""The fast computation equals the plain one on any data, and never looks at what was not yet known."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from gateline.features import EventSource, Plan
from gateline.features.plan import Latest, Lookup, Window
from gateline.features.point_in_time import Prepared, assemble
from gateline.features.ranges import range_reduce
from gateline.features.reference import reference_features
from gateline.features.trial import tried_leaks

START = datetime(2013, 3, 10, tzinfo=UTC)
INSTANT = pl.Datetime("us", "UTC")
AGGREGATES = ("mean", "count", "sum", "min", "max")
# A coarse grid of seconds makes ties, empty windows and values exactly on a window's edge common.
moments = st.integers(0, 12).map(lambda step: START + timedelta(seconds=10 * step))
keys = st.sampled_from(["a", "b", None])
whole = st.one_of(st.none(), st.integers(-(10**6), 10**6))
fractions = st.one_of(st.none(), st.floats(-1e9, 1e9, allow_nan=False, width=64))


def source(name: str, *values: str, tie_breaker: tuple[str, ...] = ()) -> EventSource:
    aliases = ("key", "happened", "known", *values)
    return EventSource(
        name=name, dataset="data", columns={alias: alias for alias in aliases}, event_time="happened", available_at="known",
        tie_breaker=tie_breaker,
    )  # fmt: skip


EVENTS = source("events", "whole", "fraction", tie_breaker=("whole",))
TABLE = source("table", "whole")
PLAN = Plan(
    name="tried",
    spine=EventSource(
        name="requests", dataset="data", columns={"id": "id", "key": "key", "t": "t"}, event_time="t", available_at="t",
    ),
    entity="id",
    time="t",
    parts=(
        *(
            Window(
                name=f"{aggregate}_{column}_{offset}", source=EVENTS, key="key", column=column, aggregate=aggregate, window_seconds=30,
                offset_seconds=offset,
            )
            for aggregate in AGGREGATES
            for column in ("whole", "fraction")
            for offset in (0, 20)
        ),
        Latest(name="newest", source=EVENTS, key="key", features={"new_whole": "whole", "new_fraction": "fraction"}, max_age_seconds=40),
        Latest(name="earlier", source=EVENTS, key="key", features={"old_whole": "whole"}, max_age_seconds=1000, offset_seconds=30),
        Lookup(name="reference", source=TABLE, key="key", features={"found": "whole"}),
    ),
)  # fmt: skip


@st.composite
def prepared_rows(draw) -> Prepared:
    requests = draw(st.lists(st.tuples(keys, moments), min_size=1, max_size=12))
    events = draw(st.lists(st.tuples(keys, moments, moments, whole, fractions), max_size=25))
    table = draw(st.lists(st.tuples(keys, moments, moments, whole), max_size=3, unique_by=lambda row: row[0]))
    names = ["key", "happened", "known", "whole", "fraction"]
    types = {"key": pl.String, "happened": INSTANT, "known": INSTANT, "whole": pl.Int64, "fraction": pl.Float64}
    spine = pl.DataFrame(
        [(str(place), *row) for place, row in enumerate(requests)], schema={"id": pl.String, "key": pl.String, "t": INSTANT}, orient="row"
    )
    frames = {
        "events": pl.DataFrame(events, schema=types, orient="row"),
        "table": pl.DataFrame(table, schema={name: types[name] for name in names[:4]}, orient="row"),
    }
    return Prepared(spine=spine, sources=frames)


def same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-5)  # sums of up to 25 values of 1e9 keep 1e-5
    return one == other and type(one) is type(other)


@given(prepared_rows())
def test_the_fast_computation_equals_the_plain_one_on_every_row_in_order(prepared):
    result = assemble(PLAN, prepared)
    assert result["row_id"].to_list() == prepared.spine["id"].to_list()
    for row, expected in zip(result.to_dicts(), reference_features(PLAN, prepared), strict=True):
        different = {name: (row[name], value) for name, value in expected.items() if not same(row[name], value)}
        assert not different


@given(prepared_rows(), st.randoms(use_true_random=False))
def test_the_order_of_source_rows_does_not_matter(prepared, random):
    order = list(range(prepared.sources["events"].height))
    random.shuffle(order)
    shuffled = Prepared(spine=prepared.spine, sources={**prepared.sources, "events": prepared.sources["events"][order]})
    for one, other in zip(assemble(PLAN, prepared).to_dicts(), assemble(PLAN, shuffled).to_dicts(), strict=True):
        assert all(same(one[name], other[name]) for name in PLAN.features)


@given(prepared_rows(), moments, whole)
def test_what_becomes_known_later_changes_no_feature(prepared, moment, value):
    known = pl.col("known") <= moment
    earlier = prepared.spine.filter(pl.col("t") <= moment)
    altered = prepared.sources["events"].with_columns(
        whole=pl.when(known).then("whole").otherwise(pl.lit(value, dtype=pl.Int64)),
        fraction=pl.when(known).then("fraction").otherwise(pl.lit(1e8)),
    )
    now = assemble(PLAN, Prepared(spine=earlier, sources=prepared.sources))
    later = assemble(PLAN, Prepared(spine=earlier, sources={**prepared.sources, "events": altered}))
    for one, other in zip(now.to_dicts(), later.to_dicts(), strict=True):
        assert all(same(one[name], other[name]) for name in PLAN.features)


@settings(max_examples=20)
@given(prepared_rows(), st.integers(0, 2**32 - 1))
def test_the_trial_for_leaks_finds_none_in_the_real_computation(prepared, seed):
    assert tried_leaks(PLAN, prepared, seed=seed, rows=12) == []


@given(
    st.lists(st.integers(-100, 100), max_size=70),
    st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70)), max_size=30),
    st.sampled_from([(np.add, sum, 0), (np.minimum, min, 10**6), (np.maximum, max, -(10**6))]),
)
def test_ranges_are_reduced_as_python_would(values, ranges, operation):
    ufunc, plain, identity = operation
    pairs = [(min(low, high, len(values)), min(max(low, high), len(values))) for low, high in ranges]
    low, high = (np.array([pair[place] for pair in pairs], dtype=np.int64) for place in (0, 1))
    found = range_reduce(np.array(values, dtype=np.int64), low, high, ufunc, identity)
    assert found.tolist() == [plain(values[start:end]) if start < end else identity for start, end in pairs]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_a_huge_value_outside_the_window_does_not_blur_the_sum_inside(values):
    times = [START, *(START + timedelta(seconds=100 + place) for place in range(len(values)))]
    events = pl.DataFrame(
        {"key": "a", "happened": times, "known": times, "whole": 0, "fraction": [1e18, *values]},
        schema_overrides={"happened": INSTANT, "known": INSTANT, "key": pl.String, "fraction": pl.Float64, "whole": pl.Int64},
    )
    spine = pl.DataFrame({"id": "0", "key": "a", "t": START + timedelta(seconds=150)}, schema_overrides={"t": INSTANT})
    part = Window(name="total", source=EVENTS, key="key", column="fraction", aggregate="sum", window_seconds=60)
    plan = Plan(name="tried", spine=PLAN.spine, entity="id", time="t", parts=(part,))
    found = assemble(plan, Prepared(spine=spine, sources={"events": events}))["total"].item()
    assert math.isclose(found, math.fsum(values), rel_tol=1e-12, abs_tol=1e-14)
