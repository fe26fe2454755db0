"""Nothing reaches the platform before its time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateline.demo.schedule import Schedule
from gateline.kernel.errors import InvalidInput

NEVER = -1


def schedule(times: list[int], labels: list[int]) -> Schedule:
    return Schedule(np.array(times, dtype=np.int64), np.array(labels, dtype=np.int64))


rows = st.lists(st.tuples(st.integers(0, 1000), st.one_of(st.none(), st.integers(0, 300))), min_size=1, max_size=60)
cuts = st.lists(st.integers(0, 1500), min_size=1, max_size=12)


@given(rows=rows, cuts=cuts)
def test_requests_and_labels_are_handed_out_once_in_order_and_never_before_their_time(rows, cuts):
    times = [at for at, _ in rows]
    known = [NEVER if lag is None else at + lag for at, lag in rows]
    plan, asked, labelled, before = schedule(times, known), [], [], 0
    for until in sorted(cuts):
        period = plan.advance(until)
        asked += period.requests.tolist()
        labelled += period.labels.tolist()
        assert all(before <= times[row] < until for row in period.requests)
        assert all(known[row] < until for row in period.labels)
        assert set(labelled) <= set(asked)
        before = max(before, until)
    assert [times[row] for row in asked] == sorted(times[row] for row in asked)
    assert [known[row] for row in labelled] == sorted(known[row] for row in labelled)
    assert len(set(asked)) == len(asked)
    assert len(set(labelled)) == len(labelled)
    assert all(known[row] != NEVER for row in labelled)


@given(rows=rows, portion=st.integers(1, 7))
def test_portions_together_hand_out_every_request_and_every_label(rows, portion):
    times = [at for at, _ in rows]
    known = [NEVER if lag is None else at + lag for at, lag in rows]
    plan, asked, labelled = schedule(times, known), [], []
    for _ in range(len(rows) + 2):
        period = plan.advance_requests(portion, 5_000)
        asked += period.requests.tolist()
        labelled += period.labels.tolist()
    labelled += plan.remaining_labels().labels.tolist()
    assert sorted(asked) == list(range(len(rows)))
    assert sorted(labelled) == [row for row, at in enumerate(known) if at != NEVER]
    assert plan.exhausted


def test_a_cancelled_flight_never_gets_a_label():
    plan = schedule([10, 20], [NEVER, 30])
    assert plan.advance(10**15).labels.tolist() == [1]
    assert plan.remaining_labels().labels.tolist() == []


def test_a_label_known_before_its_request_is_refused():
    with pytest.raises(InvalidInput, match="1 labels are known before"):
        schedule([10, 20], [9, 25])


def test_a_portion_does_not_pass_the_latest_time():
    plan = schedule([10, 20, 30, 40], [NEVER] * 4)
    period = plan.advance_requests(3, latest=25)
    assert period.requests.tolist() == [0, 1]
    assert period.until == 25
    assert plan.next_time() == 30
