from __future__ import annotations

import pytest

from gateline.kernel.clock import DAY, HOUR
from gateline.kernel.errors import InvalidInput, TooLarge
from gateline.kernel.limits import LABEL_ROWS_MAX
from gateline.monitoring.labels import decide_changes, read_labels
from gateline.monitoring.model import LabelRow

NOW = 1_400_000_000_000_000
GOOD = {"request_id": "q1", "label": 1, "event_time": NOW - DAY}


def test_rows_name_a_request_or_a_prediction_and_times_come_in_two_forms():
    rows = [GOOD, {"prediction_id": "p1", "label": 0.25, "event_time": "2013-01-01T00:00:00-05:00"}]
    assert read_labels(rows, NOW) == [
        LabelRow(key="r:q1", label=1.0, event_time=NOW - DAY),
        LabelRow(key="p:p1", label=0.25, event_time=1_357_016_400_000_000),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "give prediction_id or request_id"),
        (GOOD | {"prediction_id": "p"}, "one of them"),
        (GOOD | {"request_id": ""}, "the id must be text"),
        (GOOD | {"request_id": "x" * 201}, "the id must be text"),
        (GOOD | {"request_id": "a\x00b"}, "the id must be text"),
        (GOOD | {"request_id": 7}, "the id must be text"),
        (GOOD | {"label": None}, "label must be"),
        (GOOD | {"label": "1"}, "label must be"),
        (GOOD | {"label": float("nan")}, "label must be"),
        (GOOD | {"label": float("inf")}, "label must be"),
        (GOOD | {"label": 10**400}, "label must be"),
        (GOOD | {"event_time": None}, "event_time must be"),
        (GOOD | {"event_time": True}, "event_time must be"),
        (GOOD | {"event_time": 1.5}, "event_time must be"),
        (GOOD | {"event_time": "yesterday"}, "not an ISO 8601 timestamp"),
        (GOOD | {"event_time": "2013-01-01T00:00:00"}, "names no offset"),
        (GOOD | {"event_time": NOW + HOUR}, "in the future"),
        (GOOD | {"event_time": -1}, "before 1970"),
        (GOOD | {"event_time": 10**30}, "in the future"),
        (GOOD | {"weight": 3}, "unknown field weight"),
    ],
)
def test_a_wrong_row_is_named_with_its_place_and_its_mistake(row, words):
    with pytest.raises(InvalidInput, match=r"1 of 2 labels are wrong; none was taken. row 1: ") as caught:
        read_labels([GOOD, row], NOW)
    assert words in caught.value.message


def test_a_clock_that_is_a_little_fast_is_no_mistake():
    assert read_labels([GOOD | {"event_time": NOW + 9 * 60_000_000}], NOW)


def test_at_most_twenty_mistakes_are_quoted():
    with pytest.raises(InvalidInput) as caught:
        read_labels([{"label": 1}] * 50, NOW)
    assert caught.value.message.count("row ") == 20
    assert "and 30 more rows" in caught.value.message


def test_empty_and_oversized_batches_are_refused():
    with pytest.raises(InvalidInput, match="holds no labels"):
        read_labels([], NOW)
    with pytest.raises(TooLarge, match="the limit is"):
        read_labels([GOOD] * (LABEL_ROWS_MAX + 1), NOW)


def row(key: str, label: float, event_time: int) -> LabelRow:
    return LabelRow(key=key, label=label, event_time=event_time)


def test_a_batch_records_corrects_and_leaves_alone():
    known = {"r:a": row("r:a", 1, 10), "r:b": row("r:b", 0, 10), "r:c": row("r:c", 0, 10), "r:d": row("r:d", 0, 10)}
    batch = [row("r:a", 1, 10), row("r:b", 1, 20), row("r:c", 1, 5), row("r:d", 1, 10), row("r:e", 1, 1), row("r:e", 0, 2)]
    changes = decide_changes(batch, known)
    assert changes.current == {"r:b": row("r:b", 1, 20), "r:e": row("r:e", 0, 2)}
    assert list(changes.replaced) == [row("r:b", 0, 10), row("r:e", 1, 1)]
    assert (changes.recorded, changes.corrected, changes.unchanged, changes.stale, changes.contradictory) == (1, 2, 1, 1, 1)
