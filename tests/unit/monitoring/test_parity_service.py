"""Feature parity on real serving logs, datasets and feature sets."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from gateline.kernel.clock import DAY, HOUR, SimulatedClock, iso
from gateline.kernel.errors import GatelineError, IntegrityFailure, InvalidInput, NotFound
from gateline.monitoring import AlertState, Analysis, ParityPlan, State
from gateline.monitoring.parity_model import RequestCounts
from gateline.monitoring.parity_record import Comparisons
from gateline.monitoring.parity_rules import is_sampled
from gateline.serving import FeatureKind, FeatureSpec
from gateline.serving.log import LogWriter
from tests.support.parity import FEATURES, START, Shop, feature_set


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(start=START + 400 * DAY)


@pytest.fixture
def shop(sqlite_ledger, home, clock, tmp_path):
    found = Shop(sqlite_ledger, home, clock, tmp_path)
    yield found
    found.writer.close()


@pytest.fixture
def shop_everywhere(ledger, home, clock, tmp_path):
    found = Shop(ledger, home, clock, tmp_path)
    yield found
    found.writer.close()


def by_name(run):
    return {one.name: one for one in run.features}


def test_features_served_as_computed_agree_and_the_day_is_compared_once(shop_everywhere):
    shop = shop_everywhere
    shop.open()
    rows = shop.requests()
    shop.serve(shop.day(rows, 0))
    assert shop.parity.reconcile() == 0, "the day is not closed yet"
    shop.close(0)
    assert shop.parity.reconcile() == 1
    assert shop.make().reconcile() == 0, "after a restart nothing is repeated"
    (run,) = shop.parity.runs(shop.name)
    count = shop.day(rows, 0).height
    assert (run.start, run.end, run.revision, run.daily) == (START, START + DAY, 1, True)
    assert run.state is State.OK, run.reason
    assert run.counts == RequestCounts(requests=count, sampled=count, compared=count)
    assert run.feature_set == "order_risk@1"
    assert run.dataset_versions == {"orders": "orders@1", "readings": "readings@1"}
    assert set(by_name(run)) == {one.name for one in FEATURES}
    assert all((one.mismatch, one.missing, one.extra, one.lag) == (0, 0, 0, None) for one in run.features)
    assert by_name(run)["level"].smape == 0
    assert by_name(run)["shop"].smape is None
    (entry,) = shop.entries("parity.run.recorded")
    assert (entry.subject, entry.actor) == (run.id, "gateline:parity")
    assert entry.payload["features"]["level"] == [count, 0, 0, 0]
    assert shop.monitoring.alerts(shop.name) == []


def test_a_feature_that_is_stale_by_an_hour_is_found_with_its_lag(shop_everywhere):
    shop = shop_everywhere
    shop.open()
    stale, fresh = shop.requests(offset="1h"), shop.requests()
    shop.serve(shop.day(fresh.with_columns(stale["level"]), 0))
    shop.close(0)
    shop.parity.reconcile()
    (run,) = shop.parity.runs(shop.name)
    assert run.state is State.ALERT
    level = by_name(run)["level"]
    assert level.state is State.ALERT
    assert level.mismatch > 0.9 * level.compared
    assert (level.lag.seconds, level.lag.share, level.lag.rows) == (3_600, 1.0, level.mismatch)
    assert "equal the value of 1 h earlier" in run.reason
    assert len(level.examples) == 3
    assert all(one.state is State.OK for name, one in by_name(run).items() if name != "level")
    (alert,) = shop.monitoring.alerts(shop.name)
    assert (alert.kind, alert.names, alert.state) == (Analysis.FEATURE_PARITY, ("level",), AlertState.OPEN)


def test_no_lag_is_claimed_where_no_earlier_value_explains_the_difference(shop):
    shop.open()
    rows = shop.day(shop.requests(), 0)
    shop.serve(rows.with_columns(pl.col("level") + 1000))
    shop.close(0)
    run = shop.parity.run("owner", shop.name)
    lag = by_name(run)["level"].lag
    assert (lag.seconds, lag.share, lag.rows) == (None, 0.0, rows.height)
    assert "no earlier value, up to 1 d before, explains any of" in run.reason


def test_missing_and_extra_values_are_told_apart(shop):
    shop.open()
    rows = shop.day(shop.requests(), 0)
    extra = rows["row_id"].head(7).to_list()
    emptied = shop.frames["orders"].with_columns(size=pl.when(~pl.col("id").is_in(extra)).then("size"))
    shop.put("orders", emptied)
    shop.serve(rows.with_columns(level=pl.when(pl.int_range(pl.len()) >= 9).then("level")))
    shop.close(0)
    run = shop.parity.run("owner", shop.name)
    found = by_name(run)
    assert (found["level"].missing, found["level"].extra, found["level"].mismatch) == (9, 0, 0)
    assert (found["size"].missing, found["size"].extra, found["size"].mismatch) == (0, 7, 0)
    assert (found["level"].kind, found["size"].kind) == ("missing", "extra")
    assert run.dataset_versions["orders"] == "orders@2", "the newest version is read, not the one the set pinned"


def test_requests_unknown_offline_unnamed_or_batched_are_counted_apart_and_never_agree(shop):
    shop.open()
    rows = shop.day(shop.requests(), 0)
    known, unknown, unnamed, batched = rows.slice(0, 150), rows.slice(150, 40), rows.slice(190, 30), rows.slice(220, 10)
    shop.serve(known)
    shop.serve(unknown.with_columns(pl.concat_str(pl.lit("new-"), "row_id").alias("row_id")))
    shop.serve(unnamed, entity="")
    shop.serve(batched, batch=True)
    shop.serve(known, shadow=True, version="m@2")
    shop.close(0)
    run = shop.parity.run("owner", shop.name)
    assert run.counts == RequestCounts(requests=240, unnamed=30, batched=20, sampled=190, unknown=40, compared=150)
    assert all(one.compared == 150 for one in run.features)
    assert run.state is State.OK
    apart = "Not compared: 40 of an entity that is unknown offline, 30 without an entity, 20 in batches under one entity."
    assert run.reason.endswith(apart)


def test_a_day_of_mostly_unknown_requests_has_no_verdict(shop):
    shop.open(rows_min=1)
    rows = shop.day(shop.requests(), 0)
    shop.serve(rows.head(10))
    shop.serve(rows.slice(10, 30).with_columns(row_id=pl.lit("new-") + pl.col("row_id")))
    shop.close(0)
    run = shop.parity.run("owner", shop.name)
    assert run.state is State.NOT_ENOUGH_DATA
    assert "10 of 40 sampled requests (25.0%) were found offline; at least 50.0% are needed" in run.reason


def test_a_request_is_recomputed_at_its_own_time_and_an_entity_may_ask_again(shop):
    shop.open(rows_min=1)
    order = shop.requests().row(0, named=True)
    later = order["t"] + 5 * HOUR
    again = shop.frames["orders"].with_columns(asked=pl.col("asked") + pl.duration(hours=5))
    first, shop.frames["orders"] = shop.frames["orders"], again
    second = shop.requests().filter(pl.col("row_id") == order["row_id"])
    shop.frames["orders"] = first
    assert second["t"].item() == later
    shop.serve(pl.DataFrame([order]))
    shop.serve(second)
    shop.close(0)
    run = shop.parity.run("owner", shop.name)
    assert (run.counts.compared, run.state) == (2, State.OK), run.reason


def test_a_sample_takes_all_requests_of_an_entity_or_none(shop):
    shop.open(sample_share=0.3, rows_min=1)
    rows = shop.day(shop.requests(), 0)
    shop.serve(pl.concat([rows, rows, rows]))
    shop.close(0)
    run = shop.parity.run("owner", shop.name)
    chosen = sum(is_sampled(entity, 0.3) for entity in rows["row_id"])
    assert run.counts.sampled == 3 * chosen
    assert 0 < chosen < rows.height


def test_an_alert_opens_repeats_and_resolves_as_others_do(shop):
    shop.open()
    rows = shop.requests()
    broken = rows.with_columns(pl.col("size") * 2)
    shop.serve(shop.day(broken, 0))
    shop.serve(shop.day(broken, 1))
    shop.close(1)
    assert [shop.parity.reconcile() for _ in range(3)] == [1, 0, 0], "the log began two days before: only the newest closed day counts"
    (alert,) = shop.monitoring.alerts(shop.name)
    shop.serve(shop.day(broken, 2))
    shop.close(2)
    shop.parity.reconcile()
    (alert,) = shop.monitoring.alerts(shop.name)
    assert (alert.windows, alert.last_window_end, alert.version) == (2, START + 3 * DAY, "m@1")
    assert alert.severity == pytest.approx(100)
    shop.put("orders", shop.frames["orders"].with_columns(pl.col("size") * 2))
    run = shop.parity.run("owner", shop.name)
    assert (run.revision, run.state, run.start) == (2, State.OK, START + 2 * DAY)
    assert shop.monitoring.alerts(shop.name)[0].state is AlertState.OPEN, "one quiet run is not two"
    for number in (3, 4):
        shop.put("orders", shop.frames["orders"].with_columns(pl.col("asked") + pl.duration(days=1)))
        shop.put("readings", shop.frames["readings"].with_columns(pl.col("at", "known") + pl.duration(days=1)))
        shop.serve(shop.day(shop.requests(), number))
        shop.close(number)
        assert shop.parity.reconcile() == 1
    assert [one.state for one in shop.parity.runs(shop.name)[:2]] == [State.OK, State.OK]
    assert shop.monitoring.alerts(shop.name)[0].state is AlertState.RESOLVED


def test_the_same_interval_over_the_same_inputs_is_one_run_and_new_data_makes_a_revision(shop):
    shop.open()
    shop.serve(shop.day(shop.requests(), 0))
    shop.close(0)
    first = shop.parity.run("owner", shop.name)
    size = shop.ledger.size()
    assert shop.parity.run("another", shop.name) == first
    assert shop.parity.run("owner", shop.name, START) == first
    assert shop.ledger.size() == size
    assert shop.parity.reconcile() == 1, "the night finds the day compared and goes on"
    assert shop.parity.reconcile() == 0
    assert shop.ledger.size() == size + 1
    assert shop.entries("parity.days.opened")
    shop.put("readings", shop.frames["readings"].with_columns(pl.col("level") * 2))
    second = shop.parity.run("owner", shop.name)
    assert (second.revision, second.state, second.dataset_versions["readings"]) == (2, State.ALERT, "readings@2")
    part = shop.parity.run("owner", shop.name, START, START + 6 * HOUR)
    assert (part.daily, part.revision) == (False, 1)
    assert shop.parity.status(shop.name)["newest"]["id"] == second.id, "only whole closed days count"


def test_a_day_waits_for_datasets_that_were_read_after_it_ended_and_then_has_no_verdict(shop, clock):
    clock.advance(-400 * 86_400 + 12 * 3_600)
    shop.open()
    shop.serve(shop.day(shop.requests(), 0))
    shop.close(0)
    clock.advance(86_400)
    assert shop.parity.reconcile() == 0
    shop.put("orders", shop.frames["orders"].reverse())
    clock.advance(601)
    assert shop.parity.reconcile() == 0, "readings are still of yesterday"
    shop.close(3)
    clock.advance(601)
    assert shop.parity.reconcile() == 1
    (run,) = shop.parity.runs(shop.name)
    assert run.state is State.NOT_ENOUGH_DATA
    late = f"readings@1 was read at {iso(START + DAY // 2)}, before the interval ends at {iso(START + DAY)}."
    assert run.reason == f"The data was not refreshed in time: {late}"
    shop.put("readings", shop.frames["readings"].reverse())
    assert shop.parity.run("owner", shop.name, START).state is State.OK


def test_a_silence_is_closed_as_one_run(shop):
    shop.open()
    shop.serve(shop.day(shop.requests(), 0))
    shop.close(0)
    shop.parity.reconcile()
    shop.close(5)
    assert [shop.parity.reconcile() for _ in range(3)] == [1, 1, 0]
    silence, short, _ = shop.parity.runs(shop.name)
    assert (short.start, short.end, short.counts.requests) == (START + DAY, START + 2 * DAY, 1)
    assert (silence.start, silence.end) == (START + 2 * DAY, START + 6 * DAY)
    assert silence.reason == "No predictions in this interval."


def test_a_crash_between_computing_and_recording_leaves_nothing_and_is_made_good(shop_everywhere, monkeypatch):
    shop = shop_everywhere
    shop.open()
    shop.serve(shop.day(shop.requests().with_columns(pl.col("size") + 1), 0))
    shop.close(0)
    size = shop.ledger.size()

    def cut(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("gateline.monitoring.alerts.apply_window", cut)
        with pytest.raises(KeyboardInterrupt):
            shop.parity.reconcile()
    assert shop.parity.runs(shop.name) == []
    assert shop.entries("parity.run.recorded") == []
    assert shop.ledger.size() == size + 1, "only that the days were opened"
    assert shop.make().reconcile() == 1
    (run,) = shop.parity.runs(shop.name)
    assert run.state is State.ALERT
    assert len(shop.monitoring.alerts(shop.name)) == 1


def test_damage_in_one_endpoint_keeps_no_other_waiting_and_is_tried_again_later(shop, clock):
    shop.open()
    shop.serving.create_endpoint("owner", "first", model="m", features=FEATURES, environment="prod", latency_ms_p99=50.0)
    shop.put("prices", pl.DataFrame({"id": ["p"], "asked": pl.Series([START]).cast(pl.Datetime("us", "UTC")), "size": [1]}))
    plain = feature_set(name="prices")
    spine = replace(plain.spine, name="prices", dataset="prices", columns={"id": "id", "asked": "asked", "size": "size"})
    shop.feature_sets.register("owner", replace(plain, spine=spine, views=(), columns=("size",), categorical=()))
    shop.parity.set_plan("owner", "first", ParityPlan(feature_set="prices", sample_share=1.0))
    rows = shop.day(shop.requests(), 0)
    for endpoint in ("first", shop.name):
        shop.writer.close()
        shop.writer = LogWriter(
            shop.serving.folder / "log" / endpoint, endpoint=endpoint, worker="w1", features=[one.name for one in FEATURES],
            created_at=START,
        )  # fmt: skip
        shop.serve(rows)
        shop.close(0)
    (path,) = shop.datasets.table_paths(shop.datasets.get("prices"))
    path.chmod(0o644)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(GatelineError):
        shop.parity.reconcile()
    assert shop.parity.runs("first") == []
    (run,) = shop.parity.runs(shop.name)
    assert run.state is State.OK
    assert shop.parity.reconcile() == 0, "not again within ten minutes"
    path.write_bytes(whole)
    clock.advance(601)
    assert shop.parity.reconcile() == 1
    assert shop.parity.runs("first")[0].state is State.NOT_ENOUGH_DATA


def test_a_clock_set_back_does_not_keep_a_failed_endpoint_waiting(shop, clock):
    shop.open()
    shop.serve(shop.day(shop.requests(), 0))
    shop.close(0)
    (path,) = shop.datasets.table_paths(shop.datasets.get("readings"))
    path.chmod(0o644)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(IntegrityFailure):
        shop.parity.reconcile()
    path.write_bytes(whole)
    clock.advance(-86_400)
    assert shop.parity.reconcile() == 1


def test_two_writers_of_one_day_record_one_run(shop_everywhere, monkeypatch):
    shop = shop_everywhere
    shop.open()
    shop.serve(shop.day(shop.requests().with_columns(pl.col("size") + 1), 0))
    shop.close(0)
    compute, other, turns = Comparisons._compare, shop.make(), []

    def overtaken(self, actor, task):
        turns.append(actor)
        if len(turns) == 1:
            assert other.reconcile() == 1
        return compute(self, actor, task)

    monkeypatch.setattr(Comparisons, "_compare", overtaken)
    mine = shop.parity.run("owner", shop.name)
    assert turns == ["owner", "gateline:parity"]
    assert shop.parity.runs(shop.name) == [mine]
    assert mine.created_by == "gateline:parity"
    assert len(shop.entries("parity.run.recorded")) == 1
    (alert,) = shop.monitoring.alerts(shop.name)
    assert alert.windows == 1


def test_days_begin_in_the_zone_of_the_plan_also_when_it_changes(shop):
    shop.open(timezone="America/New_York")
    shop.serve(shop.day(shop.requests(), 0))
    shop.close(0)
    shop.parity.reconcile()
    (first,) = shop.parity.runs(shop.name)
    assert (first.start, first.end) == (START - 20 * HOUR, START + 4 * HOUR)
    shop.parity.set_plan("owner", shop.name, ParityPlan(feature_set="order_risk", sample_share=1.0))
    assert shop.parity.status(shop.name)["next_start"] == iso(START)
    assert shop.parity.reconcile() == 1
    assert (shop.parity.runs(shop.name)[0].start, shop.parity.runs(shop.name)[0].state) == (START, State.OK)


def test_a_dataset_whose_columns_changed_is_one_clear_error(shop):
    shop.open()
    shop.serve(shop.day(shop.requests(), 0))
    shop.close(0)
    shop.put("readings", shop.frames["readings"].rename({"level": "height"}))
    with pytest.raises(InvalidInput, match="Feature set 'order_risk' cannot be computed over the newest dataset versions"):
        shop.parity.run("owner", shop.name)


def test_plans_are_checked_and_recorded_once(shop):
    with pytest.raises(NotFound, match="no parity plan"):
        shop.parity.plan(shop.name)
    with pytest.raises(NotFound, match="no parity plan"):
        shop.parity.run("owner", shop.name)
    with pytest.raises(NotFound, match="order_risk"):
        shop.parity.set_plan("owner", shop.name, ParityPlan(feature_set="order_risk"))
    shop.open()
    plan = shop.parity.plan(shop.name)
    shop.parity.set_plan("another", shop.name, plan)
    assert len(shop.entries("parity.plan.declared")) == 1
    with pytest.raises(NotFound):
        shop.parity.set_plan("owner", "nowhere", plan)
    with pytest.raises(InvalidInput, match="sample_share must be a number"):
        shop.parity.set_plan("owner", shop.name, ParityPlan(feature_set="order_risk", sample_share=0))
    with pytest.raises(NotFound, match="No day of 'risk' is closed yet"):
        shop.parity.run("owner", shop.name)
    with pytest.raises(InvalidInput, match="The interval is empty"):
        shop.parity.run("owner", shop.name, START, START)
    other = FeatureSpec(name="x", kind=FeatureKind.NUMERIC)
    shop.serving.create_endpoint("owner", "other", model="m", features=[other], environment="prod", latency_ms_p99=50.0)
    with pytest.raises(InvalidInput, match="takes no feature of 'order_risk@1'"):
        shop.parity.set_plan("owner", "other", plan)
