from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from gateline.features import EventSource, KnownAt, LeakKind, find_leaks
from gateline.features.declarations.plan import OnDemand, Window
from gateline.features.engine.point_in_time import Prepared, assemble
from tests.unit.features.conftest import with_payments


def kinds(leaks) -> dict[str, LeakKind]:
    return {leak.feature: leak.kind for leak in leaks}


def test_an_honest_set_has_no_leak(plan, tables):
    assert find_leaks(plan, tables, seed=1) == []


def test_a_source_known_before_its_own_event_is_found_with_numbers(plan, tables):
    early = with_payments(plan, columns={**plan.parts[0].source.columns, "known": "paid - INTERVAL '90 minutes'"})
    leaks = find_leaks(early, tables, seed=1)
    assert kinds(leaks) == {"mean_delay": LeakKind.BEFORE_EVENT, "last_delay": LeakKind.BEFORE_EVENT}
    assert "5 of 5 rows available before their own event time 'paid', by up to 90 minutes" in leaks[0].detail
    ahead = with_payments(plan, columns=early.parts[0].source.columns, known_ahead=True)
    assert find_leaks(ahead, tables, seed=1) == []


def test_a_source_that_uses_a_column_before_a_fact_says_it_is_known_is_found(plan, tables):
    fact = KnownAt(dataset="payments", columns=("delay",), sql="known")
    assert find_leaks(replace(plan, known_at=(fact,)), tables, seed=1) == []
    early = with_payments(replace(plan, known_at=(fact,)), available_at="paid")
    leaks = find_leaks(early, tables, seed=1)
    assert set(kinds(leaks)) == {"mean_delay", "last_delay"}
    assert "reads delay of dataset 'payments', and source 'payments' declares them available at 'paid', but" in leaks[0].detail
    assert "4 of 5 rows are known only later, or never" in leaks[0].detail


def test_a_source_that_carries_the_label_earlier_than_the_label_is_found_without_any_declaration(plan, tables):
    past = EventSource(
        name="past", dataset="orders", columns={"shop": "shop", "late": "CAST(late AS BIGINT)", "asked": "asked"}, event_time="asked",
        available_at="asked",
    )  # fmt: skip
    part = Window(name="late_share", source=past, key="shop", column="late", aggregate="mean", window_seconds=3600)
    leaks = find_leaks(replace(plan, parts=(*plan.parts, part)), tables, seed=1)
    assert kinds(leaks) == {"late_share": LeakKind.BEFORE_KNOWN}
    honest = replace(past, columns={**past.columns, "settled": "settled"}, available_at="settled")
    assert find_leaks(replace(plan, parts=(*plan.parts, replace(part, source=honest))), tables, seed=1) == []


def test_filtering_by_the_label_is_reading_it(plan, tables):
    past = EventSource(
        name="past", dataset="orders", columns={"shop": "shop", "amount": "amount", "asked": "asked"}, event_time="asked",
        available_at="asked", where="late",
    )  # fmt: skip
    part = Window(name="late_orders", source=past, key="shop", column="amount", aggregate="count", window_seconds=3600)
    assert set(kinds(find_leaks(replace(plan, parts=(*plan.parts, part)), tables, seed=1))) == {"late_orders"}


@pytest.mark.parametrize("how", ["column", "on demand"])
def test_the_label_among_the_request_is_found(plan, tables, how):
    spine = replace(plan.spine, columns={**plan.spine.columns, "outcome": "CAST(late AS BIGINT)"})
    leaky = replace(plan, spine=spine, label=replace(plan.label, source=spine))
    if how == "column":
        leaky = replace(leaky, columns=(*plan.columns, "outcome"))
    else:
        leaky = replace(leaky, on_demand=(OnDemand(name="guess", sql="outcome + amount"),))
    assert list(kinds(find_leaks(leaky, tables, seed=1)).values()) == [LeakKind.BEFORE_KNOWN]


def test_a_request_that_is_available_only_after_t_is_found(plan, tables):
    spine = replace(
        plan.spine,
        columns={**plan.spine.columns, "sent": "asked + INTERVAL '1 minute'"},
        available_at="sent",
        known_ahead=True,
    )
    leaks = find_leaks(replace(plan, spine=spine, label=replace(plan.label, source=spine)), tables, seed=1)
    assert set(kinds(leaks).values()) == {LeakKind.REQUEST_TOO_EARLY}
    assert "3 of 3 rows of the spine 'orders' are available only after t = 'asked'" in leaks[0].detail


def test_a_computation_that_looks_ahead_is_caught_by_the_trial(plan, tables):
    def an_hour_ahead(chosen, prepared):
        """Compute as if every payment had been known an hour earlier."""
        payments = {
            name: frame.with_columns(known=pl.col("known") - pl.duration(hours=1)) if "delay" in frame.columns else frame
            for name, frame in prepared.sources.items()
        }
        return assemble(chosen, Prepared(spine=prepared.spine, sources=payments))

    leaks = find_leaks(plan, tables, seed=1, assemble_rows=an_hour_ahead)
    assert kinds(leaks)["last_delay"] is LeakKind.FUTURE_ROW
    assert "when what became available later is taken away" in next(leak for leak in leaks if leak.feature == "last_delay").detail


def test_a_computation_that_adds_later_values_is_caught_by_the_trial(plan, tables):
    def with_total(chosen, prepared):
        """Compute, and let every value of the source, whenever known, weigh in."""
        total = sum(frame["delay"].fill_nan(None).sum() or 0.0 for frame in prepared.sources.values() if "delay" in frame.columns)
        return assemble(chosen, prepared).with_columns(pl.col("mean_delay") + total)

    assert kinds(find_leaks(plan, tables, seed=1, assemble_rows=with_total))["mean_delay"] is LeakKind.FUTURE_ROW
