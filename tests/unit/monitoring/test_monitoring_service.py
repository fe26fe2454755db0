from __future__ import annotations

import struct
import zlib

import polars as pl
import pytest

from gateline.kernel.clock import DAY, HOUR, iso
from gateline.kernel.errors import Conflict, IntegrityFailure, InvalidInput, NotFound
from gateline.monitoring import AlertState, Analysis, DriftPolicy, FeaturePlan, MonitorPlan, ReferenceSource, State
from gateline.monitoring.store import WindowRow
from gateline.serving.log import LogWriter
from tests.support.watched import START, WEEK, week


def states(watched, analysis):
    return [window.state.value for window in watched.monitoring.windows(watched.name, analysis=analysis)]


def test_windows_close_once_on_the_watermark_and_say_what_they_saw(watched_everywhere):
    watched = watched_everywhere
    watched.watch()
    for number in range(3):
        watched.live(week(number))
    drift = watched.monitoring.windows(watched.name, analysis=Analysis.DRIFT)
    assert [(window.start - START) // WEEK for window in drift] == [0, 1]
    assert [window.state for window in drift] == [State.OK, State.OK]
    assert [window.rows for window in drift] == [400, 400]
    assert {feature["name"] for feature in drift[0].result["features"]} == {"x", "level", "prediction"}
    assert drift[0].reference == "delay/reference@1"
    performance = watched.monitoring.windows(watched.name, analysis=Analysis.PERFORMANCE)
    assert [window.state for window in performance] == [State.OK, State.OK]
    group = performance[0].result["groups"][0]
    assert (group["labels"], group["coverage"], group["units"]) == (400, 1.0, 7)
    assert group["lag_seconds"]["p50"] == 1800
    assert watched.monitoring.reconcile() == 0
    assert len(watched.entries("monitor.window.closed")) == 4
    assert len(watched.entries("monitor.windows.opened")) == 1


def test_a_window_stays_open_until_the_watermark_has_passed_it(watched):
    watched.watch()
    frame = week(0)
    watched.serve(frame)
    watched.serving.ingest()
    assert watched.monitoring.reconcile() == 0
    last = frame.tail(1).with_columns(t=pl.lit(START + WEEK + HOUR - 1), request_id=pl.lit("almost"))
    watched.serve(last)
    watched.serving.ingest()
    assert watched.monitoring.reconcile() == 0
    watched.serve(last.with_columns(t=pl.lit(START + WEEK + HOUR), request_id=pl.lit("past")))
    watched.serving.ingest()
    assert watched.monitoring.reconcile() == 1
    assert watched.monitoring.watermark(watched.name) == START + WEEK + HOUR
    assert states(watched, Analysis.PERFORMANCE) == []


def test_labels_move_the_watermark_and_the_log_is_read_before_a_window_closes(watched):
    watched.watch()
    frame = week(0)
    watched.serve(frame.head(10))
    watched.serving.ingest()
    watched.monitoring.reconcile()
    watched.serve(frame.tail(390))
    watched.label(frame, lag=WEEK + 3 * DAY)
    assert watched.monitoring.reconcile() >= 1
    assert watched.monitoring.windows(watched.name, analysis=Analysis.DRIFT)[0].rows == 400


def test_drift_is_a_warning_then_one_alert_that_absorbs_repeats_and_resolves_by_itself(watched_everywhere):
    watched = watched_everywhere
    watched.watch()
    for number, shift in enumerate([0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]):
        watched.live(week(number, shift=shift))
    assert states(watched, Analysis.DRIFT) == ["ok", "warn", "alert", "alert", "ok", "ok"]
    (alert,) = watched.monitoring.alerts(watched.name)
    assert (alert.kind, alert.state, alert.windows, alert.names, alert.version) == (
        Analysis.DRIFT, AlertState.RESOLVED, 2, ("x",), "m@1",
    )  # fmt: skip
    assert alert.severity > 1
    assert alert.comment.startswith("2 windows in a row were quiet")
    (opened,) = watched.events("monitoring.alert.opened")
    assert opened["alert_id"] == alert.id
    assert (opened["endpoint"], opened["kind"], opened["window_end"]) == ("delay", "drift", START + 3 * WEEK)
    assert opened["sentence"].startswith("x: ks 0.")
    assert [event["windows"] for event in watched.events("monitoring.alert.repeated")] == [2]
    assert [len(watched.entries(f"monitoring.alert.{what}")) for what in ("opened", "repeated", "resolved")] == [1, 1, 1]


def test_a_concept_shift_raises_a_performance_alert_and_no_drift_alert(watched):
    watched.watch()
    for number in range(4):
        watched.live(week(number, bias=0.25 if number >= 1 else 0.0))
    assert states(watched, Analysis.DRIFT) == ["ok", "ok", "ok"]
    assert states(watched, Analysis.PERFORMANCE) == ["ok", "alert", "alert"]
    (alert,) = watched.monitoring.alerts(watched.name, unresolved=True)
    assert (alert.kind, alert.windows) == (Analysis.PERFORMANCE, 2)
    assert "calibration_gap" in alert.names
    assert "calibration_gap -0." in alert.reason


def test_a_seasonal_feature_is_information(watched):
    watched.watch(MonitorPlan(features=(FeaturePlan(name="x", seasonal=True), FeaturePlan(name="level"))))
    for number in range(4):
        watched.live(week(number, shift=1.0))
    assert states(watched, Analysis.DRIFT) == ["ok", "ok", "ok"]
    last = watched.monitoring.windows(watched.name, analysis=Analysis.DRIFT)[-1]
    assert "Seasonal, as declared: x." in last.reason
    assert watched.monitoring.alerts() == []


def test_few_predictions_and_few_labels_are_not_enough_data(watched):
    watched.watch()
    watched.live(week(0, 150))
    watched.live(week(1, 150))
    (drift,) = watched.monitoring.windows(watched.name, analysis=Analysis.DRIFT)
    (performance,) = watched.monitoring.windows(watched.name, analysis=Analysis.PERFORMANCE)
    assert (drift.state, performance.state) == (State.NOT_ENOUGH_DATA, State.NOT_ENOUGH_DATA)
    assert "(50 missing)" in drift.reason
    assert "50 more are needed" in performance.reason


def test_labels_after_the_allowance_do_not_count_for_their_window(watched):
    watched.watch()
    first = week(0)
    watched.serve(first)
    watched.serve(week(1))
    watched.serving.ingest()
    watched.label(first.head(300))
    watched.label(first.tail(100), lag=9 * DAY)
    watched.monitoring.reconcile()
    (window,) = watched.monitoring.windows(watched.name, analysis=Analysis.PERFORMANCE)
    assert window.result["groups"][0]["labels"] == 300
    assert watched.monitoring.labelled(watched.name, START, START + WEEK)["label"].null_count() == 0


def test_labels_that_arrive_after_their_window_was_closed_are_told_in_the_next(watched):
    watched.watch()
    first = week(0)
    watched.serve(first)
    watched.label(first.head(380))
    watched.live(week(1))
    assert watched.monitoring.windows(watched.name, analysis=Analysis.PERFORMANCE)[0].rows == 380
    watched.label(first.tail(20))
    watched.label(week(0, 5, seed=9))
    watched.live(week(2))
    before, after = watched.monitoring.windows(watched.name, analysis=Analysis.PERFORMANCE)
    assert (before.rows, before.note) == (380, "")
    assert (after.rows, after.note) == (400, "20 labels of earlier windows came after those were closed.")


def test_late_predictions_are_told_in_the_next_window_and_change_nothing_closed(watched):
    watched.watch()
    watched.live(week(0))
    watched.live(week(1))
    before = watched.monitoring.windows(watched.name, analysis=Analysis.DRIFT)
    watched.serve(week(0, 7, seed=5))
    watched.live(week(2))
    after = watched.monitoring.windows(watched.name, analysis=Analysis.DRIFT)
    assert after[0] == before[0]
    assert after[1].note == f"7 predictions from before {iso(START + WEEK)} came after that window was closed."


def test_a_silence_is_one_window_that_says_how_long_it_was(watched):
    watched.watch()
    watched.live(week(0))
    watched.live(week(30))
    drift = watched.monitoring.windows(watched.name, analysis=Analysis.DRIFT)
    assert [(window.start - START) // WEEK for window in drift] == [0, 1]
    assert (drift[1].end - START) // WEEK == 30
    assert drift[1].state is State.NOT_ENOUGH_DATA
    assert drift[1].reason.startswith("No predictions in 29 windows from 2013-04-08")
    watched.live(week(31))
    assert [(window.start - START) // WEEK for window in watched.monitoring.windows(watched.name, analysis=Analysis.DRIFT)] == [0, 1, 30]
    assert states(watched, Analysis.PERFORMANCE) == ["ok", "not_enough_data", "ok"]


def test_an_endpoint_without_reference_closes_windows_and_says_what_is_missing(watched):
    watched.monitoring.set_plan("owner", watched.name, MonitorPlan())
    watched.live(week(0))
    watched.live(week(1))
    (drift,) = watched.monitoring.windows(watched.name, analysis=Analysis.DRIFT)
    assert drift.state is State.NOT_ENOUGH_DATA
    assert "No reference is set" in drift.reason
    assert states(watched, Analysis.PERFORMANCE) == ["ok"]


def test_predictions_are_compared_with_those_of_their_own_version_only(watched):
    watched.watch()
    watched.live(week(0), version="m@2")
    watched.live(week(1), version="m@2")
    (first,) = watched.monitoring.windows(watched.name, analysis=Analysis.DRIFT)
    prediction = next(one for one in first.result["features"] if one["name"] == "prediction")
    assert prediction["state"] == "not_enough_data"
    assert "holds predictions of m@1, the window those of m@2" in prediction["reason"]
    watched.refer(version="m@2", seed=3)
    watched.live(week(2), version="m@2")
    second = watched.monitoring.windows(watched.name, analysis=Analysis.DRIFT)[1]
    assert second.reference == "delay/reference@2"
    assert next(one for one in second.result["features"] if one["name"] == "prediction")["state"] == "ok"
    assert first == watched.monitoring.windows(watched.name, analysis=Analysis.DRIFT)[0]


def test_shadows_and_a_bad_canary_do_not_alarm_in_the_name_of_the_champion(watched):
    watched.watch()
    for number in range(3):
        frame = week(number)
        ids = watched.serve(frame)
        watched.serve(week(number, shift=5.0), version="m@2", arm="predecessor", shadow=True, ids=ids)
        watched.live(week(number, 40, shift=0.0, bias=0.6, seed=8), version="m@3", arm="canary")
        watched.label(frame)
        watched.monitoring.reconcile()
    assert states(watched, Analysis.DRIFT) == ["ok", "ok"]
    windows = watched.monitoring.windows(watched.name, analysis=Analysis.PERFORMANCE)
    assert [window.state for window in windows] == [State.OK, State.OK]
    groups = {group["arm"]: group for group in windows[0].result["groups"]}
    assert groups["predecessor"]["shadow"]
    assert groups["predecessor"]["labels"] == 400
    assert (groups["canary"]["state"], groups["canary"]["missing"]) == ("not_enough_data", 160)


def test_a_promoted_version_ends_the_alert_of_the_one_before(watched):
    watched.watch()
    for number in range(3):
        watched.live(week(number, shift=1.0))
    (alert,) = watched.monitoring.alerts(watched.name, unresolved=True)
    assert alert.version == "m@1"
    watched.live(week(3), version="m@2")
    watched.live(week(4), version="m@2")
    (alert,) = watched.monitoring.alerts(watched.name)
    assert alert.state is AlertState.RESOLVED
    assert alert.comment == "m@2 now answers most requests, no longer m@1."


def test_a_crash_between_analysis_and_commit_repeats_nothing_and_loses_nothing(watched, monkeypatch):
    watched.watch()
    watched.live(week(0))
    watched.serve(week(1, shift=1.0))
    watched.serving.ingest()
    from gateline.monitoring import alerts

    def die(*_arguments, **_named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(alerts, "apply_window", die)
        with pytest.raises(KeyboardInterrupt):
            watched.monitoring.reconcile()
    assert watched.monitoring.windows(watched.name) == []
    assert watched.entries("monitor.window.closed") == []
    watched.restart()
    assert watched.monitoring.reconcile() == 2
    assert watched.monitoring.reconcile() == 0
    assert len(watched.entries("monitor.window.closed")) == 2


def test_damage_in_the_log_of_one_endpoint_keeps_no_other_waiting(watched):
    endpoint = watched.serving.endpoint(watched.name)
    watched.serving.create_endpoint("owner", "another", model="m", features=endpoint.features, environment="prod", latency_ms_p99=50.0)
    columns = [feature.name for feature in endpoint.features]
    log = LogWriter(watched.serving.folder / "log" / "another", endpoint="another", worker="w0", features=columns, created_at=START)
    log.close()
    (path,) = (watched.serving.folder / "log" / "another").iterdir()
    payload = b"nonsense under a right checksum"
    order = struct.pack("<Q", 0)
    path.write_bytes(path.read_bytes() + struct.pack("<II", len(payload), zlib.crc32(payload, zlib.crc32(order))) + order + payload)
    watched.watch()
    watched.serve(week(0))
    watched.serve(week(1))
    with pytest.raises(IntegrityFailure):
        watched.serving.ingest()
    watched.label(week(0))
    assert watched.monitoring.reconcile() > 0
    assert watched.monitoring.windows(watched.name)


def test_two_control_planes_close_a_window_once(watched):
    watched.watch()
    watched.live(week(0))
    watched.serve(week(1))
    watched.serving.ingest()
    plan = watched.monitoring.plan(watched.name)
    mark = watched.monitoring.watermark(watched.name)
    closer = watched.monitoring._closer
    assert closer.close_drift(watched.name, plan, START, mark)
    assert not closer.close_drift(watched.name, plan, START, mark)
    with watched.ledger.records.read() as session:
        assert session.query(WindowRow).count() == 1


def test_a_year_of_backlog_is_closed_in_steps_and_in_order(watched):
    watched.watch()
    for number in range(12):
        watched.serve(week(number, 30))
    watched.serving.ingest()
    passes = []
    while closed := watched.monitoring.reconcile():
        passes.append(closed)
    assert passes == [8, 8, 6]
    starts = [(window.start - START) // WEEK for window in watched.monitoring.windows(watched.name, analysis=Analysis.DRIFT)]
    assert starts == list(range(11))


def test_alerts_are_acknowledged_and_resolved_by_people_on_record(watched_everywhere):
    watched = watched_everywhere
    watched.watch()
    for number in range(3):
        watched.live(week(number, shift=1.0))
    (alert,) = watched.monitoring.alerts(watched.name)
    seen = watched.monitoring.acknowledge("operator", alert.id, "looking")
    assert (seen.state, seen.acknowledged_by, seen.comment) == (AlertState.ACKNOWLEDGED, "operator", "looking")
    assert watched.monitoring.acknowledge("operator", alert.id) == seen
    watched.live(week(3, shift=1.0))
    (still,) = watched.monitoring.alerts(watched.name)
    assert (still.state, still.windows) == (AlertState.ACKNOWLEDGED, 2)
    done = watched.monitoring.resolve("operator", alert.id, "source repaired")
    assert (done.state, done.resolved_by) == (AlertState.RESOLVED, "operator")
    with pytest.raises(Conflict, match="was resolved by operator"):
        watched.monitoring.resolve("operator", alert.id)
    with pytest.raises(NotFound):
        watched.monitoring.acknowledge("operator", "alert_none")
    with pytest.raises(InvalidInput):
        watched.monitoring.acknowledge("operator", alert.id, "x" * 20_000)
    assert [len(watched.entries(f"monitoring.alert.{what}")) for what in ("acknowledged", "resolved")] == [1, 1]


def test_plans_and_references_are_idempotent_recorded_and_guarded(watched_everywhere):
    watched = watched_everywhere
    with pytest.raises(NotFound, match="not watched"):
        watched.monitoring.plan(watched.name)
    with pytest.raises(NotFound):
        watched.monitoring.set_plan("owner", "nowhere", MonitorPlan())
    watched.watch()
    first = watched.monitoring.references(watched.name)
    watched.watch()
    assert watched.monitoring.references(watched.name) == first
    assert [len(watched.entries(kind)) for kind in ("monitor.plan.declared", "monitor.reference.set")] == [1, 1]
    assert first[0].summary["calibrated"] == {"x": 8, "level": 8, "prediction": 8}
    assert first[0].summary["performance"]["rows"] == 3200
    with pytest.raises(Conflict, match="604800 s long"):
        watched.monitoring.set_plan("owner", watched.name, MonitorPlan(window_seconds=86_400))
    changed = MonitorPlan(drift=DriftPolicy(magnitude_min=0.1))
    watched.monitoring.set_plan("owner", watched.name, changed)
    assert watched.monitoring.plan(watched.name) == changed


def test_references_from_files_that_do_not_fit_are_refused(watched):
    with pytest.raises(InvalidInput, match="has no feature y"):
        watched.monitoring.set_plan("owner", watched.name, MonitorPlan(features=(FeaturePlan(name="y"),)))
    watched.monitoring.set_plan("owner", watched.name, MonitorPlan())
    good, empty = watched.store(week(0)), watched.store(week(0).clear())
    no_table = watched.objects.put_bytes(b"not a table").sha256

    def refer(**source):
        return watched.monitoring.set_reference("owner", watched.name, ReferenceSource(**source))

    with pytest.raises(InvalidInput, match="no column x, level"):
        refer(frame=watched.store(week(0).drop("x", "level")))
    with pytest.raises(InvalidInput, match="no readable Parquet"):
        refer(frame=no_table)
    with pytest.raises(InvalidInput, match="has no rows"):
        refer(frame=empty)
    with pytest.raises(NotFound):
        refer(frame="0" * 64)
    with pytest.raises(InvalidInput):
        refer(frame="../../etc/passwd")
    with pytest.raises(InvalidInput, match="no column 'chance'"):
        refer(frame=good, scores=good, prediction="chance")
    place = watched.objects.path(good)
    place.chmod(0o644)
    place.write_bytes(place.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityFailure):
        refer(frame=good)
    assert watched.monitoring.references(watched.name) == []


def test_the_status_shows_plan_watermark_next_window_and_what_waits(watched):
    watched.watch()
    assert watched.monitoring.status(watched.name)["watermark"] is None
    for number in range(3):
        watched.live(week(number, shift=1.0))
    watched.label(week(2, 5, seed=77))
    found = watched.monitoring.status(watched.name)
    assert found["next_window_start"] == iso(START + 2 * WEEK)
    assert found["labels_pending"] == 5
    assert [alert["kind"] for alert in found["alerts"]] == ["drift"]
    assert set(found["last"]) == {"drift", "performance"}
    assert found["references"][0]["id"] == "delay/reference@1"
    with pytest.raises(NotFound):
        watched.monitoring.status("nowhere")


def test_windows_can_be_read_from_an_instant_on_or_from_the_end(watched):
    watched.watch()
    for number in range(5):
        watched.live(week(number, 30))
    newest = watched.monitoring.windows(watched.name, limit=2)
    assert [(window.start - START) // WEEK for window in newest] == [3, 3]
    later = watched.monitoring.windows(watched.name, analysis=Analysis.DRIFT, start=START + 2 * WEEK)
    assert [(window.start - START) // WEEK for window in later] == [2, 3]
