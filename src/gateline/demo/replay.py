"""Replaying history: prepared inference requests over real HTTP, labels through the API, both at their own event time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from gateline.demo.schedule import Schedule
from gateline.demo.wire import Answers, http_request, send_all
from gateline.kernel.clock import iso
from gateline.kernel.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from gateline.demo.schedule import Period
    from gateline.kernel.clock import Instant
    from gateline.sdk.client import Client

LABELS_PER_BATCH = 5_000
NO_LABEL_TIME = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where inference requests go.

    Attributes:
        host: Address of the inference workers.
        port: Their port.
        endpoint: Name of the endpoint.
        token: API token with the permissions prediction:request and prediction:replay.
        connections: Connections used side by side.
    """

    host: str
    port: int
    endpoint: str
    token: str
    connections: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """The rows that are asked about: one request for each.

    Attributes:
        rows: `row_id`, `t`, `label`, `label_available_at` and the features.
        features: Feature name to kind, `numeric` or `categorical`, in the endpoint's order.
    """

    rows: pl.DataFrame
    features: Mapping[str, str]

    def schedule(self) -> Schedule:
        """Return the order in which requests and labels are sent."""
        known = self.rows.select(
            pl.when(pl.col("label").is_not_null()).then(_micros("label_available_at")).otherwise(None).fill_null(NO_LABEL_TIME)
        ).to_series()
        return Schedule(self.rows.select(_micros("t")).to_series().to_numpy(), known.to_numpy())

    def bodies(self, positions: Sequence[int] | np.ndarray[Any, np.dtype[np.int64]]) -> list[bytes]:
        """Return the Open Inference Protocol v2 body of each of these rows."""
        part = self.rows[np.asarray(positions, dtype=np.int64)]
        openings = [
            f'{{"name": {json.dumps(name)}, "datatype": "{"FP64" if kind == "numeric" else "BYTES"}", "shape": [1, 1], "data": ['
            for name, kind in self.features.items()
        ]
        columns = [_json_values(part.get_column(name), kind) for name, kind in self.features.items()]
        return [
            ('{"inputs": [' + ", ".join(opening + value + "]}" for opening, value in zip(openings, values, strict=True)) + "]}").encode()
            for values in zip(*columns, strict=True)
        ]

    def requests(self, target: Target, positions: np.ndarray[Any, np.dtype[np.int64]]) -> list[bytes]:
        """Return whole HTTP requests for these rows: the row's id names the request and the entity, its time is the event time."""
        part = self.rows[positions]
        ids = part.get_column("row_id").cast(pl.String).to_list()
        times = part.select(_micros("t")).to_series().to_list()
        path = f"/v2/models/{target.endpoint}/infer"
        fixed = [
            ("host", f"{target.host}:{target.port}"), ("authorization", f"Bearer {target.token}"), ("content-type", "application/json"),
        ]  # fmt: skip
        return [
            http_request(
                "POST", path, [*fixed, ("x-gateline-event-time", iso(time)), ("x-request-id", row), ("x-gateline-entity", row)], body
            )
            for row, time, body in zip(ids, times, self.bodies(positions), strict=True)
        ]

    def labels(self, positions: np.ndarray[Any, np.dtype[np.int64]]) -> list[dict[str, Any]]:
        """Return the labels of these rows as the API takes them."""
        part = self.rows[positions].select(
            pl.col("row_id").cast(pl.String).alias("request_id"),
            pl.col("label").cast(pl.Int64),
            _micros("label_available_at").alias("event_time"),
        )
        return part.to_dicts()


@dataclass(slots=True, kw_only=True)
class Traffic:
    """What was sent so far, and how it went.

    Attributes:
        requests: Requests answered with a prediction.
        labels: Labels sent.
        seconds: Wall time spent sending requests.
        latencies_ms: Time of every request in milliseconds.
        resent: Requests sent again after a broken connection.
        last_body: The last answer.
    """

    requests: int = 0
    labels: int = 0
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    resent: int = 0
    last_body: bytes = b""

    @property
    def rate(self) -> float:
        """Requests per second while requests were being sent."""
        return self.requests / self.seconds if self.seconds else 0.0

    def quantile_ms(self, share: float) -> float:
        """Return a quantile of the time of one request, in milliseconds."""
        return float(np.quantile(self.latencies_ms, share)) if self.latencies_ms else 0.0

    def add(self, answers: Answers) -> None:
        """Add the answers of a batch."""
        self.requests += answers.statuses.get(200, 0)
        self.seconds += answers.seconds
        self.latencies_ms += answers.latencies_ms
        self.resent += answers.resent
        self.last_body = answers.last_body or self.last_body


class Replay:
    """Plays cases against an endpoint, period by period.

    Labels follow the requests of their portion. Where that would come too late, because the platform closes a window as soon as it has
    seen a later event, a portion ends: at every stop.

    Attributes:
        position: Until when everything was sent, in UTC microseconds.

    Args:
        cases: What is asked, and the truth about it.
        target: Where requests go.
        client: Sends the labels; its token needs label:write.
        stops: Instants in ascending order; what is known before one is sent before any request from there on.
    """

    def __init__(self, cases: Cases, target: Target, client: Client, *, stops: Sequence[Instant] = ()) -> None:
        self.cases, self.target, self.traffic = cases, target, Traffic()
        self.position: Instant = 0
        self._stops = list(stops)
        self.schedule = cases.schedule()
        self._client = client
        self._order = np.argsort(self.schedule.by_time, kind="stable")
        self._labelled: list[np.ndarray[Any, np.dtype[np.int64]]] = []

    def play_until(self, until: Instant) -> int:
        """Send the requests before `until` and the labels that became known before it; return the number of requests."""
        sent = 0
        while self._stops and self._stops[0] < until:
            sent += self._play(self.schedule.advance(self._stops.pop(0)))
        self.position = until
        return sent + self._play(self.schedule.advance(until))

    def play_requests(self, count: int, latest: Instant) -> int:
        """Send the next `count` requests, or fewer when a stop or `latest` comes first, then the labels known by then.

        Returns the number of requests sent. `position` says how far the replay is afterwards.
        """
        period = self.schedule.advance_requests(count, min([latest, *self._stops[:1]]))
        if self._stops and period.until >= self._stops[0]:
            self._stops.pop(0)
        self.position = period.until
        return self._play(period)

    def play_remaining_labels(self) -> None:
        """Send the labels that became known after the last request."""
        self._play(self.schedule.remaining_labels())

    def labelled_since(self, asked: int) -> int:
        """Return how many labels were sent for requests after the first `asked` ones."""
        return sum(int(np.count_nonzero(self._order[part] >= asked)) for part in self._labelled)

    def _play(self, period: Period) -> int:
        if len(period.requests):
            requests = self.cases.requests(self.target, period.requests)
            answers = send_all(self.target.host, self.target.port, requests, connections=self.target.connections)
            self.traffic.add(answers)
            if answers.failed:
                raise Unavailable(f"{answers.failed} of {len(requests)} inference requests failed. First answer: {answers.first_failure}")
        self._labelled.append(period.labels)
        labels = self.cases.labels(period.labels)
        for start in range(0, len(labels), LABELS_PER_BATCH):
            batch = labels[start : start + LABELS_PER_BATCH]
            self._client.post(f"/endpoints/{self.target.endpoint}/labels", json={"labels": batch})
            self.traffic.labels += len(batch)
        return len(period.requests)


def prediction_id(body: bytes) -> str:
    """Return the id of the prediction in an Open Inference Protocol answer of this server.

    Raises:
        InvalidInput: the answer holds none.
    """
    answer = json.loads(body or b"{}")
    found = answer.get("parameters", {}).get("prediction_id") or answer.get("prediction_id")
    if not isinstance(found, str):
        raise InvalidInput(f"The answer names no prediction: {body[:300].decode(errors='replace')}")
    return found


def _micros(column: str) -> pl.Expr:
    """Return the column as UTC microseconds, from a timestamp or from whole microseconds."""
    return pl.col(column).cast(pl.Datetime("us", "UTC"), strict=False).dt.epoch("us").alias(column)


def _json_values(column: pl.Series, kind: str) -> list[str]:
    """Return each value as JSON text; missing and not-a-number become null."""
    if kind == "numeric":
        numbers = column.cast(pl.Float64).to_list()
        return ["null" if one is None or one != one else repr(one) for one in numbers]  # noqa: PLR0124 - NaN differs from itself
    return ["null" if one is None else json.dumps(one) for one in column.cast(pl.String).to_list()]
