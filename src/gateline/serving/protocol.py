"""The two request shapes that users know, and their answers.

Open Inference Protocol v2, `POST /v2/models/{endpoint}/infer`: one input per feature, shape [n] or [n,1].
MLflow scoring, `POST /invocations?endpoint={endpoint}`: `dataframe_split` or `dataframe_records`.

Names win over order. Features that are unknown, missing or of the wrong type are refused by name, all at once; a value that is missing
is sent as null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from gateline.kernel.errors import InvalidInput, TooLarge
from gateline.serving.model import FeatureKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateline.serving.form import Value
    from gateline.serving.model import FeatureSpec

IDENTIFIER_LENGTH_MAX = 200
_PROBLEMS_SHOWN = 20
_ONE_ROW = ([1], [1, 1])
_NUMBERS = {"FP64", "FP32", "FP16", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8", "BOOL"}
_CODES = {
    400: "BAD_REQUEST", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "RESOURCE_DOES_NOT_EXIST",
    413: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE", 507: "TEMPORARILY_UNAVAILABLE",
}  # fmt: skip


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any]


class _InferRequest(msgspec.Struct):
    inputs: list[_Tensor]
    id: str = ""
    parameters: dict[str, Any] | None = None


class _SplitFrame(msgspec.Struct):
    columns: list[str]
    data: list[list[Any]]


class _InvocationRequest(msgspec.Struct):
    dataframe_split: _SplitFrame | None = None
    dataframe_records: list[dict[str, Any]] | None = None


class Rows(msgspec.Struct, gc=False):
    """A decoded request: rows with values in the order of the endpoint's features, and what it says of itself."""

    rows: list[list[Value]]
    request_id: str = ""
    entity: str = ""


_decode_infer = msgspec.json.Decoder(_InferRequest).decode
_decode_invocation = msgspec.json.Decoder(_InvocationRequest).decode


class RequestDecoder:
    """Turns request bodies into rows of one endpoint.

    Args:
        features: What the endpoint takes, in the order of the rows.
        rows_max: Most rows of a request.
    """

    def __init__(self, features: Sequence[FeatureSpec], rows_max: int) -> None:
        self._places = {one.name: (index, one.kind is FeatureKind.NUMERIC) for index, one in enumerate(features)}
        self._width = len(features)
        self._rows_max = rows_max

    def infer(self, body: bytes) -> Rows:
        """Decode an Open Inference Protocol v2 request.

        Raises:
            InvalidInput: names everything that is wrong.
            TooLarge: more rows than allowed.
        """
        try:
            request = _decode_infer(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(f"The body is not an Open Inference Protocol v2 request: {error}.") from error
        row = self._single_row(request.inputs)
        if row is not None:
            return Rows([row], request.id, _entity(request.parameters))
        problems: list[str] = []
        columns: list[tuple[int, list[Any]]] = []
        for tensor in request.inputs:
            column = self._tensor(tensor, problems)
            if column is not None:
                columns.append(column)
        self._check_names([tensor.name for tensor in request.inputs], problems)
        lengths = {len(values) for _place, values in columns}
        if len(lengths) > 1:
            problems.append(f"the inputs have different numbers of rows: {sorted(lengths)}")
        if problems:
            _refuse(problems)
        count = lengths.pop()
        self._check_count(count)
        rows: list[list[Value]] = [[None] * self._width for _row in range(count)]
        for place, values in columns:
            for row, value in zip(rows, values, strict=True):
                row[place] = value
        return Rows(rows, request.id, _entity(request.parameters))

    def invocation(self, body: bytes) -> Rows:
        """Decode an MLflow scoring request; raises as `infer` does."""
        try:
            request = _decode_invocation(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(f"The body is not an MLflow scoring request: {error}.") from error
        split, records = request.dataframe_split, request.dataframe_records
        if (split is None) == (records is None):
            raise InvalidInput("The body needs exactly one of 'dataframe_split' and 'dataframe_records'.")
        if split is not None:
            return Rows(self._split(split))
        return Rows(self._records(records or []))

    def _single_row(self, tensors: list[_Tensor]) -> list[Value] | None:
        """Return the values of the plainest request: every feature once, one value each; None leaves the request to the full checks."""
        places, filled = self._places, 0
        row: list[Value] = [None] * self._width
        for tensor in tensors:
            found = places.get(tensor.name)
            if found is None or len(tensor.data) != 1 or tensor.shape not in _ONE_ROW:
                return None
            place, numeric = found
            value = tensor.data[0]
            if numeric:
                if tensor.datatype not in _NUMBERS or type(value) is not float:
                    return None
            elif tensor.datatype != "BYTES" or type(value) is not str:
                return None
            filled += row[place] is None
            row[place] = value
        return row if filled == self._width == len(tensors) else None

    def _tensor(self, tensor: _Tensor, problems: list[str]) -> tuple[int, list[Any]] | None:
        """Return place and checked values of one input; None (and a problem) when it cannot be used."""
        found = self._places.get(tensor.name)
        if found is None:
            return None  # named by _check_names
        place, numeric = found
        if (tensor.datatype in _NUMBERS) != numeric or not (numeric or tensor.datatype == "BYTES"):
            wanted = "a number type such as FP64" if numeric else "BYTES"
            problems.append(f"feature '{tensor.name}' has datatype {tensor.datatype}, not {wanted}")
            return None
        values = tensor.data
        if values and type(values[0]) is list:
            values = [value for part in values for value in (part if type(part) is list else [part])]
        shape = tensor.shape
        if not shape or shape[0] != len(values) or any(size != 1 for size in shape[1:]):
            problems.append(f"feature '{tensor.name}' has shape {shape} and {len(values)} values; [n] or [n,1] is needed")
            return None
        return place, self._column(tensor.name, values, numeric, problems)

    def _column(self, name: str, values: list[Any], numeric: bool, problems: list[str]) -> list[Any]:
        """Return the values as float, str or None; a value of another type is a problem."""
        for index, value in enumerate(values):
            kind = type(value)
            if value is None or kind is (float if numeric else str):
                continue
            if numeric and kind in (int, bool):
                try:
                    values[index] = float(value)
                    continue
                except OverflowError:
                    pass
            wanted = "a number" if numeric else "text"
            problems.append(f"feature '{name}' is {_shown(value)} in row {index}, not {wanted} or null")
            break
        return values

    def _split(self, frame: _SplitFrame) -> list[list[Value]]:
        problems: list[str] = []
        self._check_names(frame.columns, problems)
        ragged = [index for index, row in enumerate(frame.data) if len(row) != len(frame.columns)]
        if ragged:
            problems.append(f"row {ragged[0]} has {len(frame.data[ragged[0]])} values for {len(frame.columns)} columns")
        if problems:
            _refuse(problems)
        self._check_count(len(frame.data))
        columns = {name: [row[index] for row in frame.data] for index, name in enumerate(frame.columns)}
        return self._assemble(columns, len(frame.data))

    def _records(self, records: list[dict[str, Any]]) -> list[list[Value]]:
        problems: list[str] = []
        for record in records:
            self._check_names(record, problems)
            if problems:
                _refuse(problems)
        self._check_count(len(records))
        return self._assemble({name: [record[name] for record in records] for name in self._places}, len(records))

    def _assemble(self, columns: dict[str, list[Any]], count: int) -> list[list[Value]]:
        problems: list[str] = []
        rows: list[list[Value]] = [[None] * self._width for _row in range(count)]
        for name, (place, numeric) in self._places.items():
            for row, value in zip(rows, self._column(name, columns[name], numeric, problems), strict=True):
                row[place] = value
        if problems:
            _refuse(problems)
        return rows

    def _check_names(self, names: Iterable[str], problems: list[str]) -> None:
        given = list(names)
        if len(given) == self._width and all(name in self._places for name in given) and len(set(given)) == len(given):
            return
        problems += [f"feature '{name[:100]}' is unknown" for name in sorted({name for name in given if name not in self._places})]
        problems += [f"feature '{name}' is missing" for name in self._places if name not in given]
        problems += [f"feature '{name[:100]}' is given twice" for name in sorted({name for name in given if given.count(name) > 1})]

    def _check_count(self, count: int) -> None:
        if count == 0:
            raise InvalidInput("The request has no rows.")
        if count > self._rows_max:
            raise TooLarge(f"The request has {count} rows; at most {self._rows_max} are allowed.", next_step="Send several requests.")


def _refuse(problems: list[str]) -> NoReturn:
    more = f"; and {len(problems) - _PROBLEMS_SHOWN} more" if len(problems) > _PROBLEMS_SHOWN else ""
    raise InvalidInput(f"The features do not fit the endpoint: {'; '.join(problems[:_PROBLEMS_SHOWN])}{more}.")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "…"


def _entity(parameters: dict[str, Any] | None) -> str:
    if not parameters:
        return ""
    found = parameters.get("entity_id", "")
    if not isinstance(found, str):
        raise InvalidInput("The parameter 'entity_id' is not text.")
    return found


def checked_identifier(kind: str, text: str) -> str:
    """Return an id from outside when it is printable and at most 200 characters long.

    Raises:
        InvalidInput: it is not.
    """
    if len(text) > IDENTIFIER_LENGTH_MAX or not text.isprintable():
        raise InvalidInput(f"The {kind} is longer than {IDENTIFIER_LENGTH_MAX} characters or not printable.")
    return text


class Answer(msgspec.Struct, gc=False):
    """What a request is told: the scores of its rows and where they come from."""

    endpoint: str
    request_id: str
    version: str
    generation: int
    arm: str
    prediction_ids: list[str]
    predictions: list[float]


_encode = msgspec.json.Encoder().encode


def infer_answer(answer: Answer) -> bytes:
    """Encode an Open Inference Protocol v2 response; the prediction ids are a second output."""
    count = len(answer.predictions)
    return _encode(
        {
            "model_name": answer.endpoint,
            "model_version": answer.version,
            "id": answer.request_id,
            "parameters": {"prediction_id": answer.prediction_ids[0], "arm": answer.arm, "generation": answer.generation},
            "outputs": [
                {"name": "prediction", "shape": [count], "datatype": "FP64", "data": answer.predictions},
                {"name": "prediction_id", "shape": [count], "datatype": "BYTES", "data": answer.prediction_ids},
            ],
        }
    )


def invocation_answer(answer: Answer) -> bytes:
    """Encode an MLflow scoring response; beside `predictions` it carries ids, version and arm."""
    return _encode(
        {
            "predictions": answer.predictions,
            "prediction_ids": answer.prediction_ids,
            "request_id": answer.request_id,
            "model_version": answer.version,
            "arm": answer.arm,
            "generation": answer.generation,
        }
    )


def infer_error(status: int, message: str) -> bytes:  # noqa: ARG001
    """Encode an Open Inference Protocol v2 error."""
    return _encode({"error": message})


def invocation_error(status: int, message: str) -> bytes:
    """Encode an MLflow scoring error."""
    return _encode({"error_code": _CODES.get(status, "INTERNAL_ERROR"), "message": message})
