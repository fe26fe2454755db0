"""Reconcilers rest until a table that they read has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text, update

from gateline.kernel import reconciling
from gateline.kernel.errors import Unavailable
from gateline.kernel.lease import Lease
from gateline.kernel.reconciling import Reconcilers, Step
from gateline.kernel.store import LeaseRow

if TYPE_CHECKING:
    from gateline.kernel.clock import SimulatedClock
    from gateline.kernel.records import Records


def add_lease(records: Records, name: str) -> None:
    """Write a row of a table that steps may read."""
    with records.write() as session:
        session.add(LeaseRow(name=name, owner="somebody", until=0))


@pytest.fixture
def never_rested(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second that does not pass."""
    monkeypatch.setattr(reconciling, "_REST_SECONDS", 3_600.0)


@pytest.mark.usefixtures("never_rested")
def test_a_step_is_due_again_when_a_table_that_it_read_was_changed(records: Records) -> None:
    """By a row, by an update of many, by plain text; not by a change that was rolled back, nor by one of another table."""
    step = Step("names", lambda: records.column(select(LeaseRow.name), {}))
    other = Step("nothing", lambda: None)
    for one in (step, other):
        assert one.is_due(records.changes)
        one.run(records.changes)
        assert not one.is_due(records.changes)
    add_lease(records, "a")
    assert step.is_due(records.changes)
    assert not other.is_due(records.changes)
    step.run(records.changes)

    with pytest.raises(ZeroDivisionError), records.write() as session:
        session.execute(update(LeaseRow).values(until=1))
        raise ZeroDivisionError
    assert not step.is_due(records.changes)

    with records.write() as session:
        session.execute(update(LeaseRow).values(until=2))
    assert step.is_due(records.changes)
    step.run(records.changes)

    with records.write() as session:
        session.execute(text("DELETE FROM lease"))
    assert step.is_due(records.changes)
    assert other.is_due(records.changes)


@pytest.mark.usefixtures("never_rested")
def test_what_is_written_while_a_step_reads_makes_it_due_again(records: Records) -> None:
    """Else a change between its query and its end would be overlooked."""

    def read_and_be_overtaken() -> None:
        records.column(select(LeaseRow.name), {})
        add_lease(records, "late")

    step = Step("names", read_and_be_overtaken)
    step.run(records.changes)
    assert step.is_due(records.changes)


@pytest.mark.usefixtures("never_rested")
def test_a_step_remembers_every_table_it_ever_read(records: Records) -> None:
    """What it did not look at this time may matter the next time."""
    looks = iter([True, False])
    step = Step("names", lambda: records.column(select(LeaseRow.name), {}) if next(looks) else None)
    step.run(records.changes)
    step.run(records.changes)
    add_lease(records, "a")
    assert step.is_due(records.changes)


def test_a_step_has_its_turn_once_a_second_and_one_that_reads_files_always(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time, files and other processes bring work too."""
    step, reader = Step("time", lambda: None), Step("files", lambda: None, always=True)
    for one in (step, reader):
        one.run(records.changes)
    assert not step.is_due(records.changes)
    assert reader.is_due(records.changes)
    monkeypatch.setattr(reconciling, "_REST_SECONDS", 0.0)
    assert step.is_due(records.changes)


def test_a_pass_on_demand_runs_every_step_and_a_failing_one_keeps_no_other_waiting(records: Records, clock: SimulatedClock) -> None:
    """The failure is logged."""
    ran: list[str] = []

    def fail() -> None:
        ran.append("failing")
        raise Unavailable("It is away.")

    steps = (Step("failing", fail), Step("sound", lambda: ran.append("sound")))
    reconcilers = Reconcilers(Lease(records, clock, name="reconcilers", owner="a"), 0.1, steps, records.changes)
    reconcilers.pass_once()
    reconcilers.pass_once()
    assert ran == ["failing", "sound", "failing", "sound"]
