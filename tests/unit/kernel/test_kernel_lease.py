"""One leader among several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateline.kernel.lease import Lease

if TYPE_CHECKING:
    from gateline.kernel.clock import SimulatedClock
    from gateline.kernel.records import Records


def candidate(records: Records, clock: SimulatedClock, owner: str) -> Lease:
    """A candidate for the same lease."""
    return Lease(records, clock, name="reconcilers", owner=owner, seconds=15)


def test_only_one_of_two_candidates_leads(records: Records, clock: SimulatedClock) -> None:
    """The first one, as long as it renews."""
    first, second = candidate(records, clock, "a"), candidate(records, clock, "b")
    assert first.hold()
    for _ in range(10):
        clock.advance(seconds=6)
        assert first.hold()
        assert not second.hold()


def test_a_dead_leader_is_followed_within_its_lease(records: Records, clock: SimulatedClock) -> None:
    """And does not lead when it comes back."""
    first, second = candidate(records, clock, "a"), candidate(records, clock, "b")
    assert first.hold()
    clock.advance(seconds=15.1)
    assert second.hold()
    assert not first.hold()


def test_a_released_lease_is_free_at_once(records: Records, clock: SimulatedClock) -> None:
    """A clean stop hands over without waiting."""
    first, second = candidate(records, clock, "a"), candidate(records, clock, "b")
    assert first.hold()
    first.release()
    assert second.hold()


def test_a_clock_set_back_does_not_prolong_a_lease_in_memory(records: Records, clock: SimulatedClock) -> None:
    """The holder asks the database again instead of trusting a time far ahead."""
    first = candidate(records, clock, "a")
    assert first.hold()
    clock.advance(seconds=-3600)
    assert first.hold()
