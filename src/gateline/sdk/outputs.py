"""What a step returns, read from its annotation: names of outputs and kinds of artifact."""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Annotated, Any

from gateline.data import DatasetVersion
from gateline.kernel.errors import GatelineError, InvalidInput
from gateline.kernel.names import valid_name
from gateline.pipelines import ArtifactKind, StepOutput
from gateline.sdk.references import Dataset, Model

RESULT = "result"
"""Name of the output of a step that names none."""

_JSON = (str, int, float, bool, list, dict, tuple, types.NoneType)
_FRAMES = {"polars": "DataFrame", "pandas": "DataFrame", "pyarrow": "Table"}
_UNCOLLECTED = ("polars", "LazyFrame")
_KEPT = "Return a frame, a path, JSON values, Metrics, a Dataset or a Model."


def outputs_of(function: Callable[..., Any], step: str) -> tuple[StepOutput, ...]:
    """Return the outputs that a function's return annotation declares.

    `Annotated[T, "name"]` names an output, `tuple[Annotated[…], Annotated[…]]` declares several. A kind is None when the annotation is
    missing or leaves it open; the value tells then.

    Raises:
        InvalidInput: a type is not kept as an artifact, a name is not allowed or used twice, or only some outputs are named.
    """
    annotation = _return_annotation(function, step)
    parts = typing.get_args(annotation) if typing.get_origin(annotation) is tuple else ()
    named = [part for part in parts if _name_in(part)]
    if not named:
        return (_output(annotation, RESULT, step),)
    if len(named) < len(parts) or len(parts) < 2:
        raise InvalidInput(
            f"Step '{step}' names {len(named)} of the {len(parts)} values that it returns.",
            next_step='Name at least two and all: tuple[Annotated[int, "first"], Annotated[str, "second"]]; or one without tuple.',
        )
    found = tuple(_output(part, RESULT, step) for part in parts)
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise InvalidInput(f"Step '{step}' gives two outputs the same name: {', '.join(names)}.", next_step="Name each differently.")
    return found


def _return_annotation(function: Callable[..., Any], step: str) -> Any:
    """Return the annotation with its names looked up; Any when there is none, or when a name of it exists for type checkers only."""
    plain = inspect.unwrap(function)
    annotation = getattr(plain, "__annotations__", {}).get("return", Any)
    if annotation is None:
        return types.NoneType
    if not isinstance(annotation, str):
        return annotation
    holder = types.SimpleNamespace(__annotations__={"return": annotation})
    try:
        return typing.get_type_hints(holder, globalns=getattr(plain, "__globals__", {}), include_extras=True)["return"]
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        if "Annotated" not in annotation:
            return Any
        raise InvalidInput(
            f"The return annotation of step '{step}', {annotation}, cannot be looked up: {error}.",
            next_step="Import what it names at the top of the file, not only for type checkers.",
        ) from error


def _name_in(annotation: Any) -> str:
    """Return the name of an output that an annotation carries, or nothing."""
    if typing.get_origin(annotation) is not Annotated:
        return ""
    return next((one for one in annotation.__metadata__ if isinstance(one, str) and not isinstance(one, ArtifactKind)), "")


def _output(annotation: Any, name: str, step: str) -> StepOutput:
    chosen = _name_in(annotation) or name
    try:
        valid_name("output", chosen)
    except GatelineError as error:
        raise InvalidInput(f"Step '{step}': {error.message}", next_step=error.next_step) from error
    try:
        return StepOutput(name=chosen, kind=kind_of_type(annotation))
    except InvalidInput as error:
        raise InvalidInput(f"Output '{chosen}' of step '{step}' {error.message}", next_step=error.next_step) from error


def kind_of_type(annotation: Any) -> ArtifactKind | None:
    """Return the kind of artifact that a type says, or None when only the value can tell.

    >>> kind_of_type(dict[str, int]).value
    'json'

    Raises:
        InvalidInput: values of the type are not kept; the message continues "Output X of step Y …".
    """
    if typing.get_origin(annotation) is Annotated:
        marked = [one for one in annotation.__metadata__ if isinstance(one, ArtifactKind)]
        return marked[0] if marked else kind_of_type(annotation.__origin__)
    origin = typing.get_origin(annotation) or annotation
    if origin in (typing.Union, types.UnionType):
        kinds = {kind_of_type(one) for one in typing.get_args(annotation)}
        return kinds.pop() if len(kinds) == 1 else None
    if origin is typing.Literal:
        return ArtifactKind.JSON
    return _kind_of_class(origin) if isinstance(origin, type) else None


def _kind_of_class(kind: type) -> ArtifactKind | None:
    home, name = kind.__module__.partition(".")[0], kind.__name__
    if (home, name) == _UNCOLLECTED:
        raise InvalidInput("is a lazy frame, which holds no rows yet.", next_step="Return frame.collect(), and annotate it pl.DataFrame.")
    if _FRAMES.get(home) == name:
        return ArtifactKind.FRAME
    for base, found in ((PurePath, ArtifactKind.FILE), (Model, ArtifactKind.MODEL), ((Dataset, DatasetVersion), ArtifactKind.DATASET)):
        if issubclass(kind, base):
            return found
    if issubclass(kind, _JSON) or kind is Mapping:
        return ArtifactKind.JSON
    if kind is object or home in {"typing", "collections", "numpy"} or inspect.isabstract(kind) or issubclass(kind, enum.Enum):
        return None
    raise InvalidInput(f"is annotated as {kind.__module__}.{kind.__qualname__}, which is not kept between steps.", next_step=_KEPT)


def kind_of_value(value: Any) -> ArtifactKind:
    """Return the kind of artifact that a value is when its step does not say."""
    home, name = type(value).__module__.partition(".")[0], type(value).__name__
    if _FRAMES.get(home) == name:
        return ArtifactKind.FRAME
    if isinstance(value, PurePath):
        return ArtifactKind.FILE
    if isinstance(value, Model):
        return ArtifactKind.MODEL
    return ArtifactKind.DATASET if isinstance(value, Dataset | DatasetVersion) else ArtifactKind.JSON
