"""MLflow's client, pointed at a Gateline server for the time of one run, and what is handed to it."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import InvalidInput, Unavailable
from gateline.kernel.run_names import DATASET_SHA256_TAG, DATASET_VERSION_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateline.sdk.client import Client

_LOADING_SECONDS_MAX = 120.0
_STEP_MAX = 2**63 - 1
_SHOWN = 60
_DIGEST_LENGTH = 32  # MLflow keeps at most 36 characters; the full digest goes into a tag of the input


@contextmanager
def mlflow_at(address: str, token: str) -> Iterator[Any]:
    """Yield the `mlflow` module pointed at the server, and put its process-wide address back afterwards."""
    wanted = {
        "MLFLOW_TRACKING_TOKEN": token,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    environ = os.environ  # noqa: TID251 - MLflow's client takes token and switches from the environment only
    before = {key: environ.get(key) for key in wanted}
    environ.update(wanted)
    import mlflow

    address_before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(address)
    try:
        yield mlflow
    finally:
        mlflow.set_tracking_uri(address_before)
        for key, value in before.items():
            if value is None:
                environ.pop(key, None)
            else:
                environ[key] = value


def wait_until_ready(client: Client) -> None:
    """Return once the server's MLflow is loaded.

    Raises:
        Unavailable: it is switched off, failed to load, or is not ready within two minutes.
    """
    deadline = time.monotonic() + _LOADING_SECONDS_MAX
    while (state := client.get("/health")["mlflow"]) == "loading" and time.monotonic() < deadline:
        time.sleep(0.2)
    if state != "ready":
        next_step = "Look at the server's log; GATELINE_MLFLOW=true switches it on."
        raise Unavailable(f"The server's MLflow is not ready: {state}.", next_step=next_step)


def experiment_id_of(mlflow: Any, name: str) -> str:
    """Return the id of an experiment, made when it does not exist; two clients may both try."""
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            made: str = client.create_experiment(name)
            return made
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    experiment_id: str = found.experiment_id
    return experiment_id


def dataset_input(dataset: Any) -> Any:
    """Return a dataset version as MLflow's entity; built by hand because `mlflow.data` wants the table itself."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    version_id, digest = str(field_of(dataset, "id")), str(field_of(dataset, "digest"))
    entity = Dataset(
        name=str(field_of(dataset, "name")),
        digest=digest[:_DIGEST_LENGTH],
        source_type="gateline",
        source=json.dumps({"dataset_version": version_id, "sha256": digest}),
        profile=json.dumps({"num_rows": field_of(dataset, "row_count")}),
    )
    tags = {"mlflow.data.context": "training", DATASET_VERSION_TAG: version_id, DATASET_SHA256_TAG: digest}
    return DatasetInput(entity, [InputTag(key, value) for key, value in tags.items()])


def check_columns(booster: Any, columns: Sequence[str], categorical: Sequence[str]) -> None:
    """Refuse columns that are not those of the booster.

    Raises:
        InvalidInput: naming every difference.
    """
    names = booster.feature_name()
    unnamed = names == [f"Column_{index}" for index in range(len(names))]
    mistakes = []
    if len(columns) != len(names) or (not unnamed and [column.replace(" ", "_") for column in columns] != names):
        mistakes.append(f"the booster was trained on {names}, the columns given are {list(columns)}")
    unknown = sorted(set(categorical) - set(columns))
    if unknown:
        mistakes.append(f"categorical columns are not among the columns: {unknown}")
    if mistakes:
        raise InvalidInput(f"The model cannot be logged: {'; '.join(mistakes)}.", next_step="Give the columns in the order of training.")


def check_metrics(metrics: Mapping[str, Sequence[float]], first_step: int) -> None:
    """Refuse values that MLflow would refuse when they are sent, which would hold up all that come after them.

    Raises:
        InvalidInput: naming every wrong value, name and step.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.utils.validation import _validate_metric

    wrong = [name for name, values in metrics.items() if not all(_is_number(value) for value in values)]
    mistakes = [f"metrics hold values that are no numbers: {', '.join(map(str, wrong))}"] if wrong else []
    length = max(map(len, metrics.values()), default=0)
    if type(first_step) is not int or not -_STEP_MAX <= first_step <= _STEP_MAX - length:
        mistakes.append(f"step {first_step!r} is no whole number of 64 bits")
    for name in metrics:
        try:
            _validate_metric(name, 0.0, 0, 0)
        except (MlflowException, TypeError) as error:
            mistakes.append(f"metric {str(name)[:_SHOWN]!r}: {getattr(error, 'message', error)}")
    if mistakes:
        raise InvalidInput(f"Nothing was logged: {'; '.join(mistakes)}.", next_step="Correct these and log again; NaN is a number.")


def _is_number(value: Any) -> bool:
    try:
        return isinstance(math.isnan(value), bool)
    except (TypeError, OverflowError):
        return False


def field_of(thing: Any, name: str) -> Any:
    """Return a field of a record, which is an object or its JSON."""
    return thing[name] if isinstance(thing, Mapping) else getattr(thing, name)
