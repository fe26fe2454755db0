from __future__ import annotations

import polars as pl

from gateline.monitoring.joining import LABEL_SCHEMA, join_labels, label_keys


def predictions(*rows: tuple[str, str, int, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["prediction_id", "request_id", "received_at", "arm"], orient="row")


def labels(*rows: tuple[str, float, int]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=LABEL_SCHEMA, orient="row")


def joined(frame: pl.DataFrame, *rows: tuple[str, float, int]) -> list[tuple[float | None, int | None]]:
    found = join_labels(frame, labels(*rows))
    assert found["prediction_id"].to_list() == frame["prediction_id"].to_list()
    assert found.columns == [*frame.columns, "label", "label_event_time"]
    return found.select("label", "label_event_time").rows()


ONE = predictions(("p1", "q1", 5, "champion"), ("p2", "q2", 6, "champion"))


def test_labels_join_by_request_and_by_prediction():
    assert joined(ONE, ("r:q1", 1.0, 10), ("p:p2", 0.0, 11)) == [(1.0, 10), (0.0, 11)]
    assert joined(ONE) == [(None, None), (None, None)]


def test_a_label_holds_for_every_arm_that_scored_the_prediction():
    frame = predictions(("p1", "q1", 5, "canary"), ("p1", "q1", 5, "champion"), ("p2", "q2", 6, "champion"))
    assert joined(frame, ("p:p1", 1.0, 10)) == [(1.0, 10), (1.0, 10), (None, None)]
    assert joined(frame, ("r:q1", 1.0, 10)) == [(1.0, 10), (1.0, 10), (None, None)]


def test_of_two_labels_for_one_prediction_the_later_holds():
    assert joined(ONE, ("r:q1", 1.0, 10), ("p:p1", 0.0, 12))[0] == (0.0, 12)
    assert joined(ONE, ("r:q1", 1.0, 12), ("p:p1", 0.0, 10))[0] == (1.0, 12)


def test_a_request_with_many_rows_is_labelled_by_prediction_only():
    batch = predictions(("p1", "q1", 5, "champion"), ("p2", "q1", 5, "champion"))
    assert joined(batch, ("r:q1", 1.0, 10), ("p:p2", 0.0, 9)) == [(None, None), (0.0, 9)]


def test_a_request_sent_again_under_its_id_shares_the_label():
    again = predictions(("p1", "q1", 5, "champion"), ("p2", "q1", 8, "champion"))
    assert joined(again, ("r:q1", 1.0, 10)) == [(1.0, 10), (1.0, 10)]


def test_labels_of_other_predictions_do_not_touch_these():
    assert joined(ONE, ("r:p1", 1.0, 10), ("p:q1", 1.0, 10), ("x:q1", 1.0, 10)) == [(None, None), (None, None)]
    assert joined(ONE.clear(), ("r:q1", 1.0, 10)) == []


def test_keys_are_asked_for_once():
    assert sorted(label_keys(pl.concat([ONE, ONE]))) == ["p:p1", "p:p2", "r:q1", "r:q2"]
