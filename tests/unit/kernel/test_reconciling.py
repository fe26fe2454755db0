"""What is due from time to time."""

from __future__ import annotations

import pytest

from gateline.kernel.clock import MINUTE, SimulatedClock
from gateline.kernel.reconciling import WhenDue


def test_what_fails_is_tried_again_when_the_interval_has_passed_and_not_in_each_pass():
    clock, calls = SimulatedClock(), []

    def failing():
        calls.append(clock.now())
        raise OSError("no")

    due = WhenDue(clock, MINUTE, failing)
    with pytest.raises(OSError, match="no"):
        due()
    clock.advance(30)
    due()
    clock.advance(30)
    with pytest.raises(OSError, match="no"):
        due()
    assert len(calls) == 2
