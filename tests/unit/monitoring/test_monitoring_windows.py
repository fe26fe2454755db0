from __future__ import annotations

import pytest

from gateline.kernel.clock import DAY, HOUR, parse_iso
from gateline.monitoring.model import Analysis, MonitorPlan
from gateline.monitoring.windows import closes, containing, first_start, silent_end

PLAN = MonitorPlan()
WEEK = 7 * DAY


@pytest.mark.parametrize(
    ("event", "zone", "midnight"),
    [
        ("2013-04-01T11:30:00Z", "UTC", "2013-04-01T00:00:00Z"),
        ("2013-04-01T03:59:59Z", "America/New_York", "2013-03-31T04:00:00Z"),
        ("2013-04-01T04:00:00Z", "America/New_York", "2013-04-01T04:00:00Z"),
        ("2013-03-10T12:00:00Z", "America/New_York", "2013-03-10T05:00:00Z"),
        ("2013-04-01T18:00:01Z", "Asia/Dhaka", "2013-04-01T18:00:00Z"),
    ],
)
def test_windows_begin_at_the_local_midnight_of_the_first_event(event, zone, midnight):
    assert first_start(parse_iso(event), zone) == parse_iso(midnight)


def test_a_window_closes_when_the_watermark_has_passed_its_end_by_the_margin():
    assert not closes(WEEK, PLAN, Analysis.DRIFT, WEEK + HOUR - 1)
    assert closes(WEEK, PLAN, Analysis.DRIFT, WEEK + HOUR)
    assert not closes(WEEK, PLAN, Analysis.PERFORMANCE, WEEK + 48 * HOUR - 1)
    assert closes(WEEK, PLAN, Analysis.PERFORMANCE, WEEK + 48 * HOUR)


def test_an_event_belongs_to_one_window_also_before_the_first():
    assert [containing(100, 10, at) for at in (100, 109, 110, 99)] == [100, 100, 110, 90]


def test_silence_ends_where_the_next_prediction_begins_or_where_the_watermark_is():
    end = silent_end(0, PLAN, next_event=5 * WEEK + 1, watermark=9 * WEEK)
    assert end == 5 * WEEK
    assert silent_end(0, PLAN, next_event=None, watermark=9 * WEEK + 2 * HOUR) == 9 * WEEK
    assert silent_end(0, PLAN, next_event=50 * WEEK, watermark=3 * WEEK + HOUR) == 3 * WEEK
    assert silent_end(0, PLAN, next_event=WEEK, watermark=WEEK + HOUR) == WEEK
