"""The served form: what a registered model becomes so that a worker can load it, and the proof that it is the registered one.

A form is two files. `model.txt` is the model; `serving.json` says which request feature feeds which model column and pins the digest of
model.txt, so the digest of serving.json identifies the whole. No code travels, nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from gateline.kernel.canonical import canonical_bytes, sha256_bytes
from gateline.kernel.errors import IntegrityFailure, InvalidInput
from gateline.serving.lightgbm_native import NativeBooster
from gateline.serving.lightgbm_text import category_lists, check_model_text, model_columns
from gateline.serving.model import MODEL_FILE, SERVING_DOCUMENT, FeatureKind, FeatureSpec, FormInput
from gateline.serving.rules import check_form

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

Value = float | str | None
_WARM_ROWS = 3


class FormDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of serving.json."""

    format: Literal["lightgbm"]
    inputs: tuple[FormInput, ...]
    positive: bool
    files: dict[str, str]


class Columns(Protocol):
    """A table by column: a Polars frame, or a mapping of names to sequences."""

    def __getitem__(self, name: str, /) -> Any:
        """Return the values of one column."""
        ...


def identity_inputs(model_text: str, categorical: Sequence[str] = ()) -> tuple[FormInput, ...]:
    """Return the inputs of a model whose columns are the request's features under their own names.

    Args:
        model_text: The model as LightGBM writes it.
        categorical: Columns that were pandas categories in training, in any order; their lists are read from the model.

    Raises:
        InvalidInput: a categorical column is not in the model, or the number of lists in the model differs.
    """
    columns, lists = model_columns(model_text), category_lists(model_text)
    unknown = sorted(set(categorical) - set(columns))
    if unknown or len(lists) != len(set(categorical)):
        raise InvalidInput(
            f"The model keeps {len(lists)} category lists; {len(set(categorical))} categorical columns are named"
            + (f", of which it does not know {', '.join(unknown)}." if unknown else ".")
        )
    names = [column for column in columns if column in set(categorical)]
    by_name = dict(zip(names, lists, strict=True))
    return tuple(
        FormInput(column=name, feature=name, kind=FeatureKind.CATEGORICAL, categories=by_name[name])
        if name in by_name
        else FormInput(column=name, feature=name, kind=FeatureKind.NUMERIC)
        for name in columns
    )


def compile_served_form(model_text: str, inputs: Sequence[FormInput | Mapping[str, Any]], *, positive: bool = True) -> dict[str, bytes]:
    """Return the files of the served form of a LightGBM model, by name.

    The same model and inputs give the same bytes. Inputs are put into the model's column order.

    Args:
        model_text: The model as `Booster.model_to_string` writes it.
        inputs: One per model column.
        positive: False when the model's output is the probability of the other class; the form then returns 1 minus it.

    Raises:
        InvalidInput: names every mismatch between model and inputs.
        IntegrityFailure: the text is not a sound LightGBM model.
    """
    try:
        declared = [one if isinstance(one, FormInput) else msgspec.convert(dict(one), FormInput) for one in inputs]
    except msgspec.ValidationError as error:
        raise InvalidInput(f"An input of the served form is wrong: {error}.") from error
    check_model_text(model_text)
    columns = model_columns(model_text)
    problems = _input_problems(columns, declared, category_lists(model_text))
    if problems:
        raise InvalidInput(f"The inputs do not fit the model: {'; '.join(problems)}.")
    NativeBooster(model_text)  # the library's own word on it
    by_column = {one.column: one for one in declared}
    model = model_text.encode()
    document = FormDocument(
        format="lightgbm", inputs=tuple(by_column[column] for column in columns), positive=positive, files={MODEL_FILE: sha256_bytes(model)}
    )
    return {SERVING_DOCUMENT: canonical_bytes(msgspec.to_builtins(document)), MODEL_FILE: model}


def read_form_document(content: bytes) -> FormDocument:
    """Return the content of a serving.json.

    Raises:
        IntegrityFailure: it is not such a document.
    """
    try:
        return msgspec.json.decode(content, type=FormDocument)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise IntegrityFailure(f"{SERVING_DOCUMENT} is not a served form: {error}.") from error


class LoadedForm:
    """A verified served form, ready to score. One thread at a time."""

    def __init__(self, document: FormDocument, model_text: str) -> None:
        self.document = document
        self._booster = NativeBooster(model_text)
        if self._booster.feature_count != len(document.inputs):
            raise IntegrityFailure(
                f"The model takes {self._booster.feature_count} columns, but {SERVING_DOCUMENT} declares {len(document.inputs)} inputs."
            )
        self._codes = [
            {name: float(code) for code, name in enumerate(one.categories)} if one.kind is FeatureKind.CATEGORICAL else None
            for one in document.inputs
        ]

    @classmethod
    def load(cls, directory: Path, files: Mapping[str, str] | None = None, *, checked: bool = False) -> LoadedForm:
        """Read and verify a form from its folder.

        Args:
            directory: Where the files are.
            files: Expected SHA-256 per file; None trusts serving.json, which still pins model.txt.
            checked: Whether the control plane already checked the model's structure, which the digests prove to be unchanged.

        Raises:
            IntegrityFailure: names the file, what was expected and what was found.
        """
        document_bytes = _read_verified(directory / SERVING_DOCUMENT, (files or {}).get(SERVING_DOCUMENT))
        document = read_form_document(document_bytes)
        pinned = document.files.get(MODEL_FILE)
        if pinned is None or (files is not None and files.get(MODEL_FILE, pinned) != pinned):
            raise IntegrityFailure(f"{directory / SERVING_DOCUMENT} pins another {MODEL_FILE} than the route: {pinned}.")
        text = _read_verified(directory / MODEL_FILE, pinned).decode()
        if not checked:
            check_model_text(text)
        return cls(document, text)

    def warm(self) -> None:
        """Score rows of missing values, so that the first request finds warm code and memory."""
        for _row in range(_WARM_ROWS):
            self._booster.score_row([nan] * len(self.document.inputs))

    def bind(self, features: Sequence[FeatureSpec]) -> BoundForm:
        """Return a scorer of rows whose values are in the order of these features.

        Raises:
            InvalidInput: the form reads a feature that is not there, or of another kind.
        """
        return BoundForm(self, self._booster, self._codes, features)

    def score_table(self, table: Columns, *, threads: int = 1) -> NDArray[np.float64]:
        """Return the score of every row of a table, exactly as row-by-row serving would.

        Args:
            table: A Polars frame or a mapping from feature name to values; None or NaN where a value is missing.
            threads: OpenMP threads; the result does not depend on it.
        """
        import numpy as np

        columns = []
        for one, codes in zip(self.document.inputs, self._codes, strict=True):
            values = table[one.feature]
            if codes is not None:
                columns.append(np.asarray([codes.get(value, nan) for value in values], dtype=np.float64))
            else:
                numbers = np.asarray(values, dtype=np.float64)
                columns.append(numbers if one.scale == 1.0 and one.offset == 0.0 else numbers * one.scale + one.offset)
        scores = self._booster.score_matrix(np.column_stack(columns), threads=threads)
        return scores if self.document.positive else 1.0 - scores


def score_matrix(directory: Path, table: Columns, *, threads: int = 1) -> NDArray[np.float64]:
    """Return the score of every row of a table by the served form in a folder, exactly as a worker would give it.

    Args:
        directory: Holds serving.json and model.txt.
        table: A Polars frame (or a mapping of columns) with one column per request feature.
        threads: OpenMP threads.

    Raises:
        IntegrityFailure: the form's files contradict each other.
        InvalidInput: the table lacks a feature of the form.
    """
    form = LoadedForm.load(directory)
    missing = sorted({one.feature for one in form.document.inputs if not _has(table, one.feature)})
    if missing:
        raise InvalidInput(f"The table lacks the features {', '.join(missing)}.")
    return form.score_table(table, threads=threads)


class BoundForm:
    """A form bound to the order of an endpoint's features. One thread at a time."""

    __slots__ = ("_booster", "_plan", "_positive", "form")

    def __init__(
        self, form: LoadedForm, booster: NativeBooster, codes: Sequence[dict[str, float] | None], features: Sequence[FeatureSpec]
    ) -> None:
        check_form("the route", features, form.document.inputs)
        places = {one.name: index for index, one in enumerate(features)}
        self._plan = tuple(
            (places[one.feature], table, one.scale == 1.0 and one.offset == 0.0, one.scale, one.offset)
            for one, table in zip(form.document.inputs, codes, strict=True)
        )
        self.form = form
        self._booster = booster
        self._positive = form.document.positive

    def score(self, values: Sequence[Value]) -> float:
        """Return the score of one row, its values in the order of the endpoint's features, None where missing."""
        row: list[float] = []
        for index, codes, plain, scale, offset in self._plan:
            value: Any = values[index]
            if codes is not None:
                row.append(codes.get(value, nan))
            elif value is None:
                row.append(nan)
            else:
                row.append(value if plain else value * scale + offset)
        score = self._booster.score_row(row)
        return score if self._positive else 1.0 - score


def _has(table: Columns, name: str) -> bool:
    """Whether a mapping or a frame has the column."""
    return name in (table if isinstance(table, Mapping) else getattr(table, "columns", ()))


def _read_verified(path: Path, expected: str | None) -> bytes:
    """Read a file once and compare those bytes with the digest they should have."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IntegrityFailure(f"The file {path} of a served form cannot be read: {error.strerror}.") from error
    found = sha256_bytes(content)
    if expected is not None and found != expected:
        raise IntegrityFailure(f"The file {path} differs from its digest: expected {expected}, found {found}.")
    return content


def _input_problems(columns: Sequence[str], inputs: Sequence[FormInput], lists: Sequence[tuple[str, ...]]) -> list[str]:
    """Return every mismatch between a model's columns and the declared inputs."""
    declared = [one.column for one in inputs]
    problems = [f"column '{name}' is fed twice" for name in sorted({name for name in declared if declared.count(name) > 1})]
    problems += [f"column '{name}' of the model is not fed" for name in columns if name not in declared]
    problems += [f"the model has no column '{name}'" for name in sorted(set(declared) - set(columns))]
    for one in inputs:
        categorical = one.kind is FeatureKind.CATEGORICAL
        if categorical != bool(one.categories):
            problems.append(f"column '{one.column}' is {one.kind} and lists {len(one.categories)} categories")
        if len(set(one.categories)) != len(one.categories):
            problems.append(f"column '{one.column}' lists a category twice")
        if categorical and (one.scale != 1.0 or one.offset != 0.0):
            problems.append(f"column '{one.column}' is categorical and cannot be scaled")
        if not (isfinite(one.scale) and isfinite(one.offset)):
            problems.append(f"column '{one.column}' has a scale or offset that is not finite")
    if not problems and lists:
        by_column = {one.column: one for one in inputs}
        given = [by_column[name].categories for name in columns if by_column[name].kind is FeatureKind.CATEGORICAL]
        if given != list(lists):
            problems.append("the categories differ from those the model was trained with")
    return problems
