"""Joining labels to predictions: a label belongs to a prediction id, which every arm that scored the same question shares."""

from __future__ import annotations

import polars as pl

LABEL_SCHEMA = {"key": pl.String, "label": pl.Float64, "label_event_time": pl.Int64}


def label_keys(predictions: pl.DataFrame) -> list[str]:
    """Return the keys under which labels of these predictions may be on record."""
    requests, ids = predictions["request_id"].unique(), predictions["prediction_id"].unique()
    return [*("r:" + requests).to_list(), *("p:" + ids).to_list()]


def join_labels(predictions: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Return the predictions, in their order, with `label` and `label_event_time`; both are null where no label is known.

    A label by prediction id holds for every arm and shadow that scored it. A label by request id holds when the request has one row;
    with more it would not say which, and is left out. Where a prediction has both, the later one holds.

    Args:
        predictions: As `Serving.predictions` gives them.
        labels: Columns `key` (`r:…` or `p:…`), `label`, `label_event_time`; keys are distinct.
    """
    kind, name = pl.col("key").str.slice(0, 2), pl.col("key").str.slice(2)
    by_request = labels.filter(kind == "r:").select(name.alias("request_id"), label="label", at="label_event_time")
    by_prediction = labels.filter(kind == "p:").select(name.alias("prediction_id"), label="label", at="label_event_time")
    single = (pl.col("prediction_id").n_unique() == 1).over("request_id", "received_at").alias("single")
    rows = predictions.with_columns(single) if len(by_request) else predictions.with_columns(single=pl.lit(value=False))
    joined = rows.join(by_request, on="request_id", how="left", maintain_order="left").join(
        by_prediction, on="prediction_id", how="left", maintain_order="left", suffix="_own"
    )
    by_request_at = pl.when("single").then("at")
    later = (pl.col("at_own") >= by_request_at).fill_null(pl.col("at_own").is_not_null())
    return joined.with_columns(
        label=pl.when(later).then("label_own").when("single").then("label"),
        label_event_time=pl.when(later).then("at_own").otherwise(by_request_at),
    ).drop("single", "at", "label_own", "at_own")
