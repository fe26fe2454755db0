from __future__ import annotations

import polars as pl
import pytest

from gateline.kernel.clock import DAY, HOUR
from gateline.kernel.errors import InvalidInput, NotFound
from tests.support.watched import FEATURES, START, week

ROW = {"request_id": "q", "label": 1, "event_time": START}


def counts(receipt):
    return (receipt.recorded, receipt.corrected, receipt.unchanged, receipt.stale, receipt.contradictory)


def test_labels_are_recorded_once_and_a_repetition_changes_nothing(watched_everywhere):
    watched = watched_everywhere
    frame = week(0, 50)
    watched.serve(frame)
    watched.serving.ingest()
    first = watched.label(frame)
    assert counts(first) == (50, 0, 0, 0, 0)
    assert (first.batch, first.pending) == (1, 0)
    again = watched.label(frame)
    assert counts(again) == (0, 0, 50, 0, 0)
    assert again.batch is None
    (entry,) = watched.entries("label.batch.recorded")
    assert entry.subject == "delay/labels@1"
    assert (entry.payload["recorded"], len(entry.payload["digest"])) == (50, 64)


def test_a_later_label_corrects_an_earlier_one_and_the_history_is_kept(watched_everywhere):
    watched = watched_everywhere

    def send(label, event_time):
        return counts(watched.monitoring.record_labels("owner", watched.name, [ROW | {"label": label, "event_time": event_time}]))

    watched.serve(week(0, 1).with_columns(request_id=pl.lit("q"), t=pl.lit(START)))
    watched.serving.ingest()
    assert send(1, START + 10) == (1, 0, 0, 0, 0)
    assert send(0, START + 20) == (0, 1, 0, 0, 0)
    assert send(1, START + 15) == (0, 0, 0, 1, 0)
    assert send(1, START + 20) == (0, 0, 0, 0, 1)
    assert send(0, START + 20) == (0, 0, 1, 0, 0)
    assert send(1, START + 30) == (0, 1, 0, 0, 0)
    assert watched.monitoring.labelled(watched.name).select("label", "label_event_time").rows() == [(1.0, START + 30)]
    history = watched.monitoring.label_history(watched.name, request_id="q")
    assert [(row["label"], row["event_time"]) for row in history] == [(1.0, START + 10), (0.0, START + 20)]
    assert len(watched.entries("label.batch.recorded")) == 3


def test_labels_before_their_prediction_wait_and_then_count(watched):
    frame = week(0, 20)
    receipt = watched.label(frame)
    assert (receipt.recorded, receipt.pending, len(receipt.pending_examples)) == (20, 20, 5)
    assert receipt.pending_examples[0] == frame["request_id"][0]
    assert watched.monitoring.labelled(watched.name).is_empty()
    watched.serve(frame)
    watched.serving.ingest()
    assert watched.monitoring.labelled(watched.name)["label"].null_count() == 0
    assert watched.label(frame.with_columns(label=1 - pl.col("label")), lag=4 * HOUR).pending == 0


def test_labels_by_prediction_id_reach_every_arm_that_scored_it(watched):
    frame = week(0, 10)
    ids = watched.serve(frame)
    watched.serve(frame, version="m@2", arm="challenger", shadow=True, ids=ids)
    watched.serving.ingest()
    rows = [{"prediction_id": name, "label": at % 2, "event_time": START + 8 * DAY} for at, name in enumerate(ids)]
    assert watched.monitoring.record_labels("owner", watched.name, rows).pending == 0
    found = watched.monitoring.labelled(watched.name)
    assert len(found) == 20
    assert found["label"].to_list() == [at % 2 for at in range(10)] * 2
    assert set(found["version"]) == {"m@1", "m@2"}


def test_labelled_predictions_are_those_of_the_range_and_unlabelled_ones_stay(watched):
    frame = week(0, 40)
    watched.serve(frame)
    watched.serve(week(1, 40))
    watched.serving.ingest()
    watched.label(frame.head(30))
    found = watched.monitoring.labelled(watched.name, START, START + 7 * DAY)
    assert (len(found), found["label"].count()) == (40, 30)
    assert found["label"].head(30).to_list() == frame["label"].head(30).to_list()
    assert "feature.x" in found.columns
    assert len(watched.monitoring.labelled(watched.name)) == 80


def test_a_wrong_batch_leaves_nothing(watched):
    with pytest.raises(InvalidInput, match="1 of 2 labels are wrong"):
        watched.monitoring.record_labels("owner", watched.name, [ROW, ROW | {"label": "yes"}])
    with pytest.raises(NotFound):
        watched.monitoring.record_labels("owner", "nowhere", [ROW])
    assert watched.entries("label.batch.recorded") == []
    assert watched.label(week(0, 3)).batch == 1


def test_labels_of_one_endpoint_do_not_touch_another(watched):
    watched.serving.create_endpoint("owner", "other", model="m", features=FEATURES, environment="dev", latency_ms_p99=50.0)
    watched.serve(week(0, 1).with_columns(request_id=pl.lit("q")))
    watched.serving.ingest()
    watched.monitoring.record_labels("owner", "other", [ROW])
    assert watched.monitoring.labelled(watched.name)["label"].to_list() == [None]
    assert watched.monitoring.watermark("other") == START
    assert watched.monitoring.labelled("other").is_empty()


def test_many_labels_in_batches_are_all_there(watched):
    frame = week(0, 20_000)
    for part in frame.iter_slices(10_000):
        assert watched.label(part).recorded == 10_000
    assert watched.label(frame.tail(10_000)).unchanged == 10_000
    watched.serve(frame.head(100))
    watched.serving.ingest()
    assert watched.monitoring.labelled(watched.name)["label"].to_list() == frame["label"].head(100).to_list()
