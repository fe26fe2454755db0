"""The short way for metrics: requests that only log plain values go past MLflow's handlers, straight to its tables.

It answers nothing but success. Whatever it does not fully understand (parameters, tags, models, data sets, wrong input, unknown or frozen
runs, a busy or full database) is handed on unchanged, so every other answer is MLflow's own.
Imported by the loader only: it imports MLflow.
"""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import MAX_METRICS_PER_BATCH, _validate_metric

from gateline.adapters.mlflow.messages import again, answer, may_log_metrics, whole_body
from gateline.adapters.mlflow.metric_writer import MetricWrite, Point

if TYPE_CHECKING:
    from gateline.adapters.mlflow.messages import Message, Receive, Send
    from gateline.adapters.mlflow.metric_writer import MetricWriter

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_POINT_FIELDS = frozenset({"key", "value", "timestamp", "step"})
_ONE_FIELDS = _POINT_FIELDS | {"run_id", "run_uuid"}
_BATCH_FIELDS = frozenset({"run_id", "metrics"})
_FINITE_MAX = 1.7976931348623157e308  # what MLflow stores for an infinity
_SPELLED = {"NaN": (0.0, True), "Infinity": (_FINITE_MAX, False), "-Infinity": (-_FINITE_MAX, False)}
_WHOLE_MAX = 2**63 - 1


class MetricRoute:
    """MLflow's ASGI app with the short way in front.

    Args:
        app: MLflow's app.
        writer: Commits the values.

    Attributes:
        behind: MLflow's app.
    """

    def __init__(self, app: Any, writer: MetricWriter) -> None:
        self.behind = app
        self._writer = writer

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request of a principal that may write."""
        if not may_log_metrics(scope):
            await self.behind(scope, receive, send)
            return
        message = await whole_body(receive)
        if message["type"] == "http.request" and await to_thread.run_sync(self.log, scope["path"], message["body"]):
            await answer(send)
        else:
            await self.behind(scope, again(message, receive), send)

    def log(self, path: str, body: bytes) -> bool:
        """Return True once the values are committed, and False when nothing was written and MLflow must answer."""
        write = parse(body, batch=path.endswith("batch"))
        return write is not None and self._writer.write(write)


def parse(body: bytes, *, batch: bool) -> MetricWrite | None:
    """Return the values that a request logs, or None unless it is certain that MLflow takes it and does nothing else with it.

    >>> parse(b'{"run_id": "%s", "key": "loss", "value": 0.5, "timestamp": 7}' % (b"a" * 32), batch=False).points
    (Point(key='loss', value=0.5, timestamp=7, step=0, is_nan=False),)
    >>> parse(b'{"run_id": "r", "key": "loss"}', batch=False) is None
    True
    """
    try:
        document = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not document.keys() <= (_BATCH_FIELDS if batch else _ONE_FIELDS):
        return None
    run_id = document.pop("run_id", None)
    if not isinstance(run_id, str) or document.pop("run_uuid", run_id) != run_id or not _RUN_ID.fullmatch(run_id):
        return None
    found = document.get("metrics") if batch else [document]
    if not isinstance(found, list) or not 0 < len(found) <= MAX_METRICS_PER_BATCH:
        return None
    points = []
    for one in found:
        point = _point(one)
        if point is None:
            return None
        points.append(point)
    return MetricWrite(run_id=run_id, points=tuple(points))


def _point(document: Any) -> Point | None:
    """Return one value in the form in which MLflow stores it, or None when there is any doubt about it."""
    if not isinstance(document, dict) or not document.keys() <= _POINT_FIELDS:
        return None
    key, timestamp, step = document.get("key"), document.get("timestamp"), document.get("step", 0)
    if type(key) is not str or type(timestamp) is not int or type(step) is not int:
        return None
    if not 0 <= timestamp <= _WHOLE_MAX or not -_WHOLE_MAX <= step <= _WHOLE_MAX or not _is_name(key):
        return None
    value = _value(document.get("value"))
    return None if value is None else Point(key, value[0], timestamp, step, value[1])


def _value(given: Any) -> tuple[float, bool] | None:
    """Return a value as stored, and whether it is NaN; MLflow's client spells what JSON cannot carry."""
    if type(given) is str:
        return _SPELLED.get(given)
    if type(given) not in {int, float}:
        return None
    try:
        value = float(given)
    except OverflowError:
        return None
    return (value, False) if math.isfinite(value) else None


@lru_cache(maxsize=10_000)
def _is_name(key: str) -> bool:
    """Return whether MLflow takes this name of a metric."""
    try:
        _validate_metric(key, 0.0, 0, 0)
    except MlflowException:
        return False
    return True


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
