"""Served forms: laid out from the object store into a folder, as served or with the identity in place of their input mapping."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from gateline.data import ObjectStore

FORM_FILE = "serving.json"
_PATH_MAX = 200
_FILES_MAX = 100
_FORM_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FormInput:
    """One input of a model.

    Attributes:
        column: Its name in the model.
        kind: `numeric` or `categorical`.
        categories: The values it was trained on, when categorical.
    """

    column: str
    kind: str
    categories: tuple[str, ...] = ()


def manifest_mistakes(files: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the paths of a manifest {path: sha256}; empty when nothing is.

    >>> manifest_mistakes({"serving.json": "…", "../model.txt": "…"})
    ["the path '../model.txt' leaves the folder of the model"]
    """
    mistakes = [] if FORM_FILE in files else [f"the files have no {FORM_FILE}"]
    if len(files) > _FILES_MAX:
        mistakes.append(f"{len(files)} files are more than the limit of {_FILES_MAX}")
    for path in files:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\x00" in path or len(path) > _PATH_MAX:
            mistakes.append(f"the path '{path[:_PATH_MAX]}' leaves the folder of the model")
    return mistakes


def lay_out(objects: ObjectStore, files: Mapping[str, str], folder: Path, *, identity: bool = False) -> Path:
    """Copy the verified files of a form into the folder and return it.

    Args:
        objects: Where the files are kept.
        files: The manifest {path: sha256}.
        folder: Where they go; it is made.
        identity: Whether each model column is to be fed by the feature of its own name, unscaled, and the prediction left as the model
            gives it. The frames of gates hold the model's own columns; how requests are mapped to them is a matter of serving.

    Raises:
        InvalidInput: a path leaves the folder, or `serving.json` is missing or malformed.
        NotFound: a file is not in the object store.
        IntegrityFailure: a file changed under its digest.
    """
    if mistakes := manifest_mistakes(files):
        raise InvalidInput(f"The model's files are wrong: {'; '.join(mistakes)}.", facts={"mistakes": mistakes})
    for path, sha256 in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with objects.open_verified(sha256) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy)
    if identity:
        form = read_form(folder)
        mapped = [{**one, "feature": one["column"], "scale": 1.0, "offset": 0.0} for one in form["inputs"]]
        (folder / FORM_FILE).write_text(json.dumps({**form, "inputs": mapped, "positive": True}), encoding="utf-8")
    return folder


def read_form(folder: Path) -> dict[str, Any]:
    """Return the `serving.json` of a form that was laid out.

    Raises:
        InvalidInput: it is no JSON object with a list of inputs that name their columns.
    """
    path = folder / FORM_FILE
    if path.stat().st_size > _FORM_BYTES_MAX:
        raise InvalidInput(f"{FORM_FILE} has {path.stat().st_size:,} bytes; the limit is {_FORM_BYTES_MAX:,}.")
    try:
        form = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInput(f"{FORM_FILE} is no JSON: {error}.", next_step="Compile the served form again.") from error
    inputs = form.get("inputs") if isinstance(form, dict) else None
    if not isinstance(inputs, list) or not all(isinstance(one, dict) and isinstance(one.get("column"), str) for one in inputs):
        raise InvalidInput(f"{FORM_FILE} has no list of inputs that name their columns.", next_step="Compile the served form again.")
    return dict(form)


def form_inputs(form: Mapping[str, Any]) -> Sequence[FormInput]:
    """Return the inputs that a `serving.json` declares."""
    return [
        FormInput(
            column=one["column"],
            kind=str(one.get("kind", "numeric")),
            categories=tuple(str(value) for value in one.get("categories") or ()),
        )
        for one in form["inputs"]
    ]
