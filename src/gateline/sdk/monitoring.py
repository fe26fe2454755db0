"""Labels, monitors, windows and alerts, through the API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from gateline.sdk.client import Client

LABELS_PER_REQUEST = 20_000
_COUNTS = ("rows", "recorded", "corrected", "unchanged", "stale", "contradictory", "pending")


def record_labels(client: Client, endpoint: str, rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Record labels in batches and return the sums of what became of them.

    Sending everything again after an error is safe: what is on record is left as it is.

    Args:
        client: The connection.
        endpoint: The endpoint.
        rows: `{"prediction_id" | "request_id", "label", "event_time"}`; `event_time` is when the label became known.
    """
    totals = dict.fromkeys(_COUNTS, 0)
    remaining = iter(rows)
    while batch := [dict(row) for row in islice(remaining, LABELS_PER_REQUEST)]:
        receipt = client.post(f"/endpoints/{endpoint}/labels", json={"labels": batch})
        for name in _COUNTS:
            totals[name] += receipt[name]
    return totals


def read_label_file(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the labels of a CSV, Parquet or JSON lines file.

    Columns: `prediction_id` or `request_id`, `label`, and `event_time` as microseconds, ISO 8601 text or a timestamp.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it cannot be read, or columns are missing or unknown.
    """
    import polars as pl

    if not path.is_file():
        raise NotFound(f"There is no file {path}.", next_step="Check the path.")
    try:
        match path.suffix.lower():
            case ".csv":
                frame = pl.read_csv(path)
            case ".parquet":
                frame = pl.read_parquet(path)
            case ".jsonl" | ".ndjson":
                frame = pl.read_ndjson(path)
            case _:
                raise InvalidInput(f"{path} is no kind of file that is read as labels.", next_step="Use .csv, .parquet or .jsonl.")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"{path} cannot be read: {str(error)[:200]}.") from error
    ids = [name for name in ("prediction_id", "request_id") if name in frame.columns]
    wanted = {*ids, "label", "event_time"}
    if len(ids) != 1 or set(frame.columns) != wanted:
        raise InvalidInput(
            f"{path} has the columns {', '.join(frame.columns[:20])}.",
            next_step="Its columns must be prediction_id or request_id, then label and event_time.",
        )
    if isinstance(frame["event_time"].dtype, pl.Datetime):
        frame = frame.with_columns(pl.col("event_time").cast(pl.Datetime("us")).to_physical())
    return frame.with_columns(pl.col(ids[0]).cast(pl.String)).iter_rows(named=True)


def watch(client: Client, endpoint: str, plan: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Declare what is watched on an endpoint; what the plan leaves out takes its default. Returns the whole plan."""
    answer: dict[str, Any] = client.put(f"/endpoints/{endpoint}/monitor", json=dict(plan or {}))
    return answer


def set_reference(
    client: Client, endpoint: str, *, frame: str, scores: str | None = None, version: str = "", **columns: str
) -> dict[str, Any]:
    """Set what windows are held against.

    Args:
        client: The connection.
        endpoint: The endpoint.
        frame: SHA-256 of the uploaded training frame (Parquet).
        scores: SHA-256 of uploaded predictions on rows the model was not trained on (Parquet).
        version: The model version that made them, such as `flight-delay@1`.
        **columns: `time`, `prediction` and `label`, where they differ from `t`, `prediction` and `label`.
    """
    source = {"frame": frame, "scores": scores, "version": version, **columns}
    answer: dict[str, Any] = client.put(f"/endpoints/{endpoint}/monitor/reference", json=source)
    return answer


def monitor(client: Client, endpoint: str) -> dict[str, Any]:
    """Return plan, references, watermark, the next window to close, labels that wait, and unresolved alerts."""
    answer: dict[str, Any] = client.get(f"/endpoints/{endpoint}/monitor")
    return answer


def windows(client: Client, endpoint: str, *, analysis: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """Return the newest closed windows in order of time; `analysis` is drift or performance."""
    params = {"limit": limit} | ({} if analysis is None else {"analysis": analysis})
    answer: list[dict[str, Any]] = client.get(f"/endpoints/{endpoint}/windows", params=params)
    return answer


def alerts(client: Client, endpoint: str, *, unresolved: bool = False) -> list[dict[str, Any]]:
    """Return the alerts of an endpoint, newest first."""
    answer: list[dict[str, Any]] = client.get(f"/endpoints/{endpoint}/alerts", params={"unresolved": unresolved})
    return answer


def acknowledge(client: Client, alert_id: str, comment: str = "") -> dict[str, Any]:
    """Say that somebody looks after an alert."""
    answer: dict[str, Any] = client.post(f"/alerts/{alert_id}/acknowledge", json={"comment": comment})
    return answer


def resolve(client: Client, alert_id: str, comment: str = "") -> dict[str, Any]:
    """End an alert by hand."""
    answer: dict[str, Any] = client.post(f"/alerts/{alert_id}/resolve", json={"comment": comment})
    return answer
