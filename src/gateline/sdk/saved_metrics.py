"""Metric values that a run could not log: kept in a file, logged later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import InvalidInput
from gateline.sdk.metric_buffer import BATCH_VALUES, Value
from gateline.sdk.mlflow_client import mlflow_at, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateline.sdk.client import Client


def log_saved(client: Client, path: Path | str) -> int:
    """Log the metric values that a run could not log and left in a file, remove the file, and return their number.

    Values that are logged already are not logged twice, so it may be repeated.

    Raises:
        InvalidInput: it is no such file.
        Unavailable: the server's MLflow is not ready.
    """
    run_id, values = _read(Path(path))
    address = f"{client.address().rstrip('/')}/mlflow"
    wait_until_ready(client)
    with mlflow_at(address, client.token) as mlflow:
        for start in range(0, len(values), BATCH_VALUES):
            log_values(mlflow.MlflowClient(), run_id, values[start : start + BATCH_VALUES])
    Path(path).unlink()
    return len(values)


def log_values(client: Any, run_id: str, values: Sequence[Value]) -> None:
    """Log at most a thousand values in one request."""
    from mlflow.entities import Metric

    client.log_batch(run_id, metrics=[Metric(*value) for value in values])


def save_values(path: Path, run_id: str, values: Sequence[Value]) -> None:
    """Write values of a run into a file: its id, then a line for each value."""
    path.write_text("".join(f"{json.dumps(line)}\n" for line in ({"run_id": run_id}, *values)), encoding="utf-8")


def _read(path: Path) -> tuple[str, list[Value]]:
    """Return the run id and the values of a file that `save_values` wrote.

    Raises:
        InvalidInput: it is no such file.
    """
    try:
        first, *rest = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
        return str(first["run_id"]), [Value(*line) for line in rest]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidInput(
            f"'{path}' holds no metric values of a run: {error}.", next_step="Give the file that the error named."
        ) from error
