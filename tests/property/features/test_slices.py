"""Stretches of time cover every request once, hold what their windows reach, and repeat the data at most once."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from gateline.features.engine.alignment import Timed
from gateline.features.engine.slices import Reachable, in_order, time_slices
from gateline.kernel.clock import SECOND

START = datetime(2013, 3, 10, tzinfo=UTC)
INSTANT = pl.Datetime("us", "UTC")
seconds = st.lists(st.integers(0, 200), min_size=1, max_size=60)


def timed(offsets: list[int], ahead: list[int] | None = None) -> Timed:
    moments = [START + timedelta(seconds=one) for one in offsets]
    spoken = [START + timedelta(seconds=one + more) for one, more in zip(offsets, ahead or [0] * len(offsets), strict=True)]
    return Timed(pl.DataFrame({"at": moments, "of": spoken}, schema={"at": INSTANT, "of": INSTANT}).with_row_index("row"), "at")


@given(seconds, st.integers(1, 20), st.integers(0, 100))
def test_each_row_is_in_one_stretch_and_comes_back_in_its_place(offsets, rows, reach):
    spine = timed(offsets)
    stretches = list(time_slices(spine, rows, reach))
    assert [place for one in stretches for place in range(one.start, one.stop)] == list(range(len(offsets)))
    assert all(one.stop - one.start >= rows for one in stretches[:-1])
    assert in_order(spine, [spine.taken(one) for one in stretches])["row"].to_list() == list(range(len(offsets)))
    ends = [spine.at[spine.order[one.stop - 1]] for one in stretches]
    begins = [spine.at[spine.order[one.start]] for one in stretches]
    assert all(later - begin > reach * SECOND for begin, later in itertools.pairwise(begins))
    assert ends == sorted(ends)


@given(seconds, seconds, st.data(), st.integers(1, 20), st.integers(0, 100))
def test_a_stretch_holds_what_it_reaches_and_all_of_them_the_data_at_most_twice(requests, events, data, rows, reach):
    ahead = data.draw(st.lists(st.sampled_from([0, 0, -5, 50, 300]), min_size=len(events), max_size=len(events)))
    spine, source = timed(requests), timed(events, ahead)
    reachable, taken = Reachable(source, "of"), [0] * len(events)
    for stretch in time_slices(spine, rows, reach):
        asked = sorted(requests)[stretch]
        first, last = (int(spine.at[spine.order[place]]) for place in (stretch.start, stretch.stop - 1))
        held = reachable.rows(first, last, reach)["row"].to_list()
        assert len(held) == len(set(held))
        needed = {
            row
            for row, (at, more) in enumerate(zip(events, ahead, strict=True))
            if at <= asked[-1] and max(at, at + more) >= asked[0] - reach
        }
        assert needed <= set(held)
        for row in held:
            taken[row] += 1
    assert all(count <= 2 for count, more in zip(taken, ahead, strict=True) if more <= 0)
