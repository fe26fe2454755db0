"""One endpoint inside a worker: choose the arm, score the rows, write the log, and only then answer."""

from __future__ import annotations

import os
from math import isfinite
from time import perf_counter_ns
from typing import TYPE_CHECKING

from gateline.kernel.errors import GatelineError, Unavailable
from gateline.serving.log import LogFrame
from gateline.serving.protocol import Answer, RequestDecoder

if TYPE_CHECKING:
    from gateline.serving.form import Value
    from gateline.serving.log import LogWriter
    from gateline.serving.routing import Arm, LoadedRoute

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]


class IdSource:
    """Makes the part of ids after their prefix, of the form of `kernel.ids.new_id`, several times as fast."""

    def __init__(self) -> None:
        self._millisecond = -1
        self._time = ""

    def next(self, now: int) -> str:
        """Return a fresh id without its prefix: 48 bits of time, then 80 random bits; `now` is in UTC microseconds."""
        if now // 1000 != self._millisecond:
            self._millisecond = now // 1000
            self._time = "".join(_ALPHABET[(self._millisecond >> shift) & 31] for shift in range(45, -5, -5))
        bits = int.from_bytes(os.urandom(10))
        pairs = _PAIRS
        return (
            f"{self._time}{pairs[bits >> 70]}{pairs[bits >> 60 & 1023]}{pairs[bits >> 50 & 1023]}{pairs[bits >> 40 & 1023]}"
            f"{pairs[bits >> 30 & 1023]}{pairs[bits >> 20 & 1023]}{pairs[bits >> 10 & 1023]}{pairs[bits & 1023]}"
        )


class Request:
    """One request on its way. `predict` gives it ids: one per row, and its own when the caller chose none."""

    __slots__ = ("entity", "event_time", "prediction_ids", "received_at", "replayed", "request_id", "rows")

    def __init__(self, rows: list[list[Value]], *, request_id: str, entity: str, received_at: int, event_time: int | None) -> None:
        self.rows = rows
        self.request_id = request_id
        self.entity = entity
        self.received_at = received_at
        self.replayed = event_time is not None
        self.event_time = received_at if event_time is None else event_time
        self.prediction_ids: list[str] = []


class ServedEndpoint:
    """An endpoint a worker serves: its route of the moment and its log. One thread at a time.

    Args:
        route: The loaded route.
        log: Where predictions are written.
        rows_max: Most rows of a request.
    """

    def __init__(self, route: LoadedRoute, log: LogWriter, rows_max: int) -> None:
        self.log = log
        self._rows_max = rows_max
        self._ids = IdSource()
        self.route = route
        self.decoder = RequestDecoder(route.features, rows_max)

    def switch(self, route: LoadedRoute) -> None:
        """Answer from another route from now on."""
        self.route = route
        self.decoder = RequestDecoder(route.features, self._rows_max)

    def predict(self, request: Request) -> tuple[Answer, LoadedRoute, Arm]:
        """Score and log a request; when this returns, its frame is in the log.

        Returns:
            The answer, and the route and arm it came from (for `score_companions`).

        Raises:
            Unavailable: the model gave no usable prediction (the attempt is logged), or the log cannot be written.
            StorageFull: the log has no space; the request is refused and nothing of it is logged.
        """
        route = self.route
        suffixes = [self._ids.next(request.received_at) for _row in request.rows]
        request.prediction_ids = ["prd_" + suffix for suffix in suffixes]
        if not request.request_id:
            request.request_id = "req_" + suffixes[0]
        arm = route.choose((request.entity or request.request_id).encode())
        frame = _score(route, arm, request, shadow=False)
        self.log.append(frame)
        predictions = [value for value in frame.predictions if value is not None]
        if len(predictions) != len(request.rows):
            reason = next(error for error in frame.errors if error)
            raise Unavailable(f"Version {arm.version} gave no prediction: {reason}", facts={"prediction_ids": request.prediction_ids})
        answer = Answer(route.endpoint, request.request_id, arm.version, route.generation, arm.name, request.prediction_ids, predictions)
        return answer, route, arm

    def score_companions(self, request: Request, route: LoadedRoute, arm: Arm) -> None:
        """Score along unseen, after the answer: the champion beside another arm, the shadows beside the champion.

        Raises:
            GatelineError: the log cannot be written; the pair is then missing from the analysis, no prediction is.
        """
        for companion in route.companions(arm):
            self.log.append(_score(route, companion, request, shadow=True))


def _score(route: LoadedRoute, arm: Arm, request: Request, *, shadow: bool) -> LogFrame:
    """Score every row by one arm. The time measured per row is that of turning its values into model columns and of predicting."""
    score = arm.form.score
    predictions: list[float | None] = []
    latencies, errors = [], []
    for row in request.rows:
        start = perf_counter_ns()
        value: float | None
        try:
            value = score(row)
            error = "" if isfinite(value) else f"The prediction is {value}."
        except GatelineError as failure:
            value, error = None, failure.message
        latencies.append((perf_counter_ns() - start) / 1000)
        predictions.append(None if error else value)
        errors.append(error)
    return LogFrame(
        request.request_id, request.event_time, request.replayed, request.received_at, request.entity, arm.version, route.generation,
        arm.name, arm.weight, shadow, request.prediction_ids, latencies, request.rows, predictions, errors,
    )  # fmt: skip
