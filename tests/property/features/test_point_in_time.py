"""The fast computation equals the plain one on any data, and never looks at what was not yet known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateline.features import Aggregate, EventSource, Plan
from gateline.features.declarations.plan import Latest, Lookup, Window
from gateline.features.engine import alignment
from gateline.features.engine.point_in_time import Prepared, assemble, usable
from gateline.features.engine.ranges import range_reduce
from gateline.features.engine.reference import reference_features
from gateline.features.proofs.trial import tried_leaks
from gateline.kernel.errors import InvalidInput
from gateline.stats.exact import digits, grid_of, squares, total, variance

START = datetime(2013, 3, 10, tzinfo=UTC)
INSTANT = pl.Datetime("us", "UTC")
# A coarse grid of seconds makes ties, empty windows and values exactly on the edge of a window or hop common.
moments = st.integers(0, 12).map(lambda step: START + timedelta(seconds=10 * step))
keys = st.sampled_from(["a", "b", None])
words = st.sampled_from(["x", "y", None])
whole = st.one_of(st.none(), st.integers(-3, 3), st.integers(-(10**6), 10**6))
fractions = st.one_of(st.none(), st.sampled_from([0.0, -0.0, 0.1]), st.floats(-1e9, 1e9, allow_nan=False, width=64))
TYPES = {
    "key": pl.String, "happened": INSTANT, "known": INSTANT, "whole": pl.Int64, "fraction": pl.Float64, "word": pl.String,
    "flag": pl.Boolean,
}  # fmt: skip


def source(name: str, *values: str, tie_breaker: tuple[str, ...] = ()) -> EventSource:
    aliases = ("key", "happened", "known", *values)
    return EventSource(
        name=name, dataset="data", columns={alias: alias for alias in aliases}, event_time="happened", available_at="known",
        tie_breaker=tie_breaker,
    )  # fmt: skip


EVENTS = source("events", "whole", "fraction", "word", "flag", tie_breaker=("whole",))
TABLE = source("table", "whole")
NUMBERS = ("whole", "fraction")
COLUMNS = {
    Aggregate.COUNT: ("known", "whole", "word"),
    Aggregate.APPROX_DISTINCT: ("whole", "fraction", "word", "flag"),
    **dict.fromkeys((Aggregate.FIRST, Aggregate.LAST, Aggregate.LAST_K), ("whole", "fraction", "word", "flag")),
}
SHAPES = [(0, 0), (20, 0), (0, 20), (10, 30)]  # offset and hop


def windows() -> Iterator[Window]:
    for aggregate in Aggregate:
        for column in COLUMNS.get(aggregate, NUMBERS):
            for offset, hop in SHAPES:
                yield Window(
                    name=f"{aggregate}_{column}_{offset}_{hop}", source=EVENTS, key="key", column=column, aggregate=aggregate,
                    window_seconds=30, offset_seconds=offset, hop_seconds=hop, position=2 if aggregate is Aggregate.LAST_K else 0,
                    denominator="whole" if aggregate is Aggregate.RATIO else "",
                )  # fmt: skip


OTHERS = (
    Window(name="both_keys", source=EVENTS, key=("key", "word"), column="whole", aggregate="sum", window_seconds=50),
    Latest(name="newest", source=EVENTS, key="key", features={"new_whole": "whole", "new_fraction": "fraction"}, max_age_seconds=40),
    Latest(name="earlier", source=EVENTS, key="key", features={"old_whole": "whole"}, max_age_seconds=1000, offset_seconds=30),
    Latest(name="both", source=EVENTS, key=("key", "word"), features={"both_whole": "whole"}, max_age_seconds=60),
    Lookup(name="reference", source=TABLE, key="key", features={"found": "whole"}),
)
REQUESTS = EventSource(
    name="requests", dataset="data", columns={"id": "id", "key": "key", "word": "word", "t": "t"}, event_time="t", available_at="t"
)
PLAN = Plan(name="tried", spine=REQUESTS, entity="id", time="t", parts=(*tuple(windows())[::9], *OTHERS))
plans = st.lists(st.sampled_from([*windows(), *OTHERS]), min_size=1, max_size=8, unique_by=lambda part: part.name).map(
    lambda parts: replace(PLAN, parts=tuple(parts))
)

# One window at a time, so that a stretch reaches back no further than it must.
narrow = st.sampled_from([*windows()]).map(lambda part: replace(PLAN, parts=(part,)))


@st.composite
def prepared_rows(draw) -> Prepared:
    requests = draw(st.lists(st.tuples(keys, words, moments), min_size=1, max_size=12))
    events = draw(st.lists(st.tuples(keys, moments, moments, whole, fractions, words, st.sampled_from([True, False, None])), max_size=25))
    table = draw(st.lists(st.tuples(keys, moments, moments, whole), max_size=3, unique_by=lambda row: row[0]))
    spine = pl.DataFrame(
        [(str(place), *row) for place, row in enumerate(requests)],
        schema={"id": pl.String, "key": pl.String, "word": pl.String, "t": INSTANT},
        orient="row",
    )
    frames = {
        "events": pl.DataFrame(events, schema=TYPES, orient="row"),
        "table": pl.DataFrame(table, schema={name: TYPES[name] for name in list(TYPES)[:4]}, orient="row"),
    }
    return Prepared(spine=spine, sources=frames)


def same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-5)  # sums of up to 25 values of 1e9 keep 1e-5
    return one == other and type(one) is type(other)


@settings(max_examples=300)
@given(plans, prepared_rows())
def test_the_fast_computation_equals_the_plain_one_on_every_row_in_order(plan, prepared):
    result = assemble(plan, prepared)
    assert result["row_id"].to_list() == prepared.spine["id"].to_list()
    for row, expected in zip(result.to_dicts(), reference_features(plan, prepared), strict=True):
        different = {name: (row[name], value) for name, value in expected.items() if not same(row[name], value)}
        assert not different


@settings(max_examples=150)
@given(st.one_of(plans, narrow), prepared_rows(), st.integers(1, 13))
def test_a_computation_in_partitions_equals_the_whole(plan, prepared, rows):
    parts, whole_table = assemble(plan, prepared, partition_rows=rows), assemble(plan, prepared)
    assert parts.schema == whole_table.schema
    for one, other in zip(parts.to_dicts(), whole_table.to_dicts(), strict=True):
        assert {name for name in one if not same(one[name], other[name])} == set()


@settings(max_examples=50)
@given(plans, prepared_rows())
def test_keys_and_instants_that_do_not_fit_one_line_of_64_bits_give_the_same(plan, prepared):
    expected = assemble(plan, prepared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "_LINE_MAX", 0)
        assert assemble(plan, prepared).equals(expected)


IDENTIFIED = replace(EVENTS, event_id=("happened", "word"))


@settings(max_examples=50)
@given(prepared_rows(), st.data())
def test_an_event_that_is_delivered_again_counts_once(prepared, data):
    events = prepared.sources["events"].unique(["happened", "word"], maintain_order=True).drop_nulls("word")
    again = data.draw(st.lists(st.integers(0, max(events.height - 1, 0)), max_size=20)) if events.height else []
    delivered = usable(IDENTIFIED, pl.concat([events, events[again]]))
    assert delivered.equals(events)
    if again:
        other = events[again[:1]].with_columns(whole=pl.lit(10**7, dtype=pl.Int64))
        with pytest.raises(InvalidInput, match="different rows have the same event id") as error:
            usable(IDENTIFIED, pl.concat([events, other]))
        assert events["word"][again[0]] in error.value.message


@given(plans, prepared_rows(), st.randoms(use_true_random=False))
def test_the_order_of_source_rows_does_not_matter(plan, prepared, random):
    order = list(range(prepared.sources["events"].height))
    random.shuffle(order)
    shuffled = Prepared(spine=prepared.spine, sources={**prepared.sources, "events": prepared.sources["events"][order]})
    for one, other in zip(assemble(plan, prepared).to_dicts(), assemble(plan, shuffled).to_dicts(), strict=True):
        assert all(same(one[name], other[name]) for name in plan.features)


@given(plans, prepared_rows(), moments, whole)
def test_what_becomes_known_later_changes_no_feature(plan, prepared, moment, value):
    known = pl.col("known") <= moment
    earlier = prepared.spine.filter(pl.col("t") <= moment)
    altered = prepared.sources["events"].with_columns(
        whole=pl.when(known).then("whole").otherwise(pl.lit(value, dtype=pl.Int64)),
        fraction=pl.when(known).then("fraction").otherwise(pl.lit(1e8)),
    )
    now = assemble(plan, Prepared(spine=earlier, sources=prepared.sources))
    later = assemble(plan, Prepared(spine=earlier, sources={**prepared.sources, "events": altered}))
    for one, other in zip(now.to_dicts(), later.to_dicts(), strict=True):
        assert all(same(one[name], other[name]) for name in plan.features)


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


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=70), st.data())
def test_a_part_of_a_sequence_reduces_to_the_same_bits_as_the_whole(values, data):
    begin = data.draw(st.integers(0, len(values) - 1))
    end = data.draw(st.integers(begin, len(values)))
    ranges = data.draw(st.lists(st.tuples(st.integers(begin, end), st.integers(begin, end)).map(sorted), min_size=1, max_size=10))
    low, high = (np.array([pair[place] for pair in ranges], dtype=np.int64) for place in (0, 1))
    whole = range_reduce(np.array(values), low, high, np.add, 0.0)
    assert range_reduce(np.array(values)[begin:end], low, high, np.add, 0.0, begin).tolist() == whole.tolist()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=40))
def test_sums_and_variances_of_any_fractions_are_rounded_once(values):
    exact = [Fraction(value) for value in values]
    first, count = grid_of(np.array(values))
    found = digits(np.array(values), first, count)
    weights = [Fraction(2) ** (32 * (first + place)) for place in range(count)]
    assert [sum(int(digit) * weight for digit, weight in zip(one, weights, strict=True)) for one in found.T] == exact
    sums, square_sums = (one.sum(axis=1, keepdims=True) for one in (found, squares(found)))
    size = len(values)
    deviations = size * sum(one * one for one in exact) - sum(exact) ** 2
    assert_rounded(total(sums, first).item(), sum(exact), 1)
    assert_rounded(variance(np.array([size]), sums, square_sums, first).item(), deviations, size * (size - 1))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=40), st.integers(0, 2))
def test_variances_of_any_whole_numbers_are_rounded_once(values, spare):
    numbers, size = np.array(values, dtype=np.int64), len(values)
    first, count = grid_of(numbers.astype(np.float64), whole=True)
    found = digits(numbers, first - spare, count + spare)
    assert [sum(int(digit) << 32 * place for place, digit in enumerate(one)) >> 32 * spare for one in found.T] == values
    sums, square_sums = (one.sum(axis=1, keepdims=True) for one in (found, squares(found)))
    deviations = Fraction(size * sum(one * one for one in values) - sum(values) ** 2)
    assert_rounded(variance(np.array([size]), sums, square_sums, first - spare).item(), deviations, size * (size - 1))


def test_whole_numbers_beyond_the_exact_fractions_keep_their_variance():
    events = [("a", START, START, 2**53 + place, 0.0, "x", True) for place in (0, 1, 2)]
    spine = pl.DataFrame({"id": "0", "key": "a", "t": START}, schema_overrides={"t": INSTANT}).with_columns(word=pl.lit("x"))
    part = Window(name="spread", source=EVENTS, key="key", column="whole", aggregate="var", window_seconds=60)
    plan = Plan(name="tried", spine=PLAN.spine, entity="id", time="t", parts=(part,))
    found = assemble(plan, Prepared(spine=spine, sources={"events": pl.DataFrame(events, schema=TYPES, orient="row")}))
    assert found["spread"].item() == 1.0


def assert_rounded(found: float, exact: Fraction, divisor: int) -> None:
    """What leaves the range of fractions is infinite or NaN, and all else the nearest fraction, divided."""
    try:
        assert found == float(exact) / divisor
    except OverflowError:
        assert not math.isfinite(found)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=70), st.data())
def test_no_order_and_no_cut_changes_a_bit_of_a_sum(values, data):
    cut = data.draw(st.integers(0, len(values)))
    again = data.draw(st.permutations(values))

    def parts(pieces: list[list[float]]) -> tuple[float, float]:
        """Sum and variance; each piece has the digits that the smallest and the largest of all values ask for."""
        found = [digits(np.array(piece, dtype=np.float64), first, count) for piece in pieces]
        sums = sum(one.sum(axis=1, keepdims=True) for one in found)
        square_sums = sum(squares(one).sum(axis=1, keepdims=True) for one in found)
        return total(sums, first).item(), variance(np.array([len(values) + 1]), sums, square_sums, first).item()

    first, count = grid_of(np.array(values))
    expected = parts([values])
    assert parts([again[:cut], again[cut:]]) == expected
    first, count = first - 1, count + 2  # digits that nobody needs change nothing
    assert parts([values]) == expected


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_a_huge_value_outside_the_window_does_not_blur_the_sum_inside(values):
    times = [START, *(START + timedelta(seconds=100 + place) for place in range(len(values)))]
    events = pl.DataFrame(
        {"key": "a", "happened": times, "known": times, "whole": 0, "fraction": [1e18, *values], "word": "x", "flag": True}, schema=TYPES
    )
    spine = pl.DataFrame({"id": "0", "key": "a", "t": START + timedelta(seconds=150)}, schema_overrides={"t": INSTANT}).with_columns(
        word=pl.lit("x")
    )
    part = Window(name="total", source=EVENTS, key="key", column="fraction", aggregate="sum", window_seconds=60)
    plan = Plan(name="tried", spine=PLAN.spine, entity="id", time="t", parts=(part,))
    found = assemble(plan, Prepared(spine=spine, sources={"events": events}))["total"].item()
    assert found == math.fsum(values)
