"""Models as MLflow logs them, always with signature and requirements.

Left to MLflow, finding them takes 10 to 30 seconds in a subprocess.
"""

from __future__ import annotations

import tempfile
from importlib import import_module  # noqa: TID251 - MLflow has a module for each flavour
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PACKAGES = {"sklearn": "scikit-learn", "pytorch": "torch"}
COMMON_PACKAGES = ("numpy", "pandas", "scipy")


def log_saved_model(client: Any, run_id: str, experiment_id: str, *, name: str, kind: str, save: Callable[[str, Any], None]) -> str:
    """Log the model that `save(folder, description)` writes, as an output of the run, and return its id (`m-…`).

    `mlflow.<flavor>.log_model` would fetch the history of every metric of the run, one request each.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    model = client.create_logged_model(experiment_id, name=name, source_run_id=run_id, model_type=kind)
    described = Model(artifact_path=model.artifact_location, model_uuid=model.model_id, run_id=run_id, model_id=model.model_id)
    with tempfile.TemporaryDirectory(prefix="gateline-model-") as temporary:
        folder = Path(temporary) / "model"
        save(str(folder), described)
        client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    model_id: str = model.model_id
    return model_id


def saver(flavor: str) -> Any:
    """Return `save_model` of one of MLflow's flavours.

    Raises:
        InvalidInput: MLflow has no such flavour, or its library is not installed.
    """
    try:
        return import_module(f"mlflow.{flavor}").save_model
    except (ImportError, AttributeError) as error:
        raise InvalidInput(
            f"MLflow cannot save models of the flavour '{flavor}': {error}.", next_step="See mlflow.<flavor>.save_model."
        ) from error


def signature_of(model: Any, example: Any) -> Any:
    """Return the signature: columns and types of the example, and of what the model predicts for it.

    Raises:
        InvalidInput: the model cannot predict the example.
    """
    from mlflow.models import infer_signature

    if not callable(getattr(model, "predict", None)):
        raise InvalidInput("The model has no method `predict`.", next_step="Pass signature=mlflow.models.infer_signature(inputs, outputs).")
    return infer_signature(example, model.predict(example))


def requirements_of(flavor: str) -> list[str]:
    """Return what a model of this flavour needs to be loaded by MLflow, pinned to what is installed here."""
    return pinned(["mlflow", _PACKAGES.get(flavor, flavor), *COMMON_PACKAGES])


def pinned(packages: Iterable[str]) -> list[str]:
    """Return lines as in requirements.txt for those of the packages that are installed here, each once."""
    found = []
    for package in dict.fromkeys(packages):
        try:
            found.append(f"{package}=={version(package)}")
        except PackageNotFoundError:
            continue
    return found
