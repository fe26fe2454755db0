"""What is logged when a run starts and when it ends, by `tracked_run` and automatic logging alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from gateline.sdk.mlflow_client import dataset_input
from gateline.sdk.notebook import log_notebook
from gateline.sdk.parameters import logged_params
from gateline.sdk.surroundings import log_files, log_resources

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateline.sdk.resources import ResourceMeter
    from gateline.sdk.surroundings import Surroundings

_BATCH_PARAMS = 100
_log = structlog.get_logger(__name__)


def log_start(client: Any, run_id: str, around: Surroundings, datasets: Sequence[Any], params: Mapping[str, Any]) -> None:
    """Log parameters, inputs and files, in as few requests as MLflow allows."""
    from mlflow.entities import Param

    texts, long = logged_params(params)
    logged = [Param(key, text) for key, text in texts.items()]
    for start in range(0, len(logged), _BATCH_PARAMS):
        client.log_batch(run_id, params=logged[start : start + _BATCH_PARAMS])
    if datasets:
        client.log_inputs(run_id, [dataset_input(one) for one in datasets])
    log_files(client, run_id, {**around.files(), **long})


def log_end(client: Any, run_id: str, meter: ResourceMeter, around: Surroundings) -> None:
    """Log what the run used and, within a notebook, what was executed; what fails becomes a warning."""
    attempt("resources", run_id, lambda: log_resources(client, run_id, meter, around.price))
    if around.keep_notebook:
        attempt("notebook", run_id, lambda: log_notebook(client, run_id))


def attempt(what: str, run_id: str, record: Callable[[], object]) -> None:
    """Record something of a run; a failure becomes a warning."""
    try:
        record()
    except Exception as error:  # the boundary to the user's training: it must not be stopped, nor its own error hidden
        _log.warning("run.not_recorded", what=what, run_id=run_id, failure=f"{type(error).__name__}: {error}")
