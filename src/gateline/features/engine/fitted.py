"""Transforms whose parameters are learned from training rows: fitted once, immutable, applied alike to one row and to a table.

What is fitted is pinned to the digest of the rows it was fitted on. Sums are exact before their one rounding (`math.fsum`), and a zero has
no sign, so that the parameters have the same bits whatever the order of the rows. NaN and infinity count as missing, as everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl

from gateline.data import frame_digest
from gateline.features.declarations.transforms import TRANSFORMS, Impute, OrdinalEncode, QuantileClip, Standardise, Strategy, Transform
from gateline.features.engine.expressions import FEATURE_TYPES, typed
from gateline.kernel.canonical import digest
from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    Parameters: TypeAlias = Mapping[str, Any]

CATEGORIES_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedTransforms:
    """Transforms with the parameters that were learned; a value, never changed.

    Attributes:
        transforms: The declarations, in the order in which they are applied.
        parameters: What was learned for each, JSON-able.
        types: Feature to its type before the first transform: int64, float64, boolean or string.
        rows: Number of rows it was fitted on.
        rows_digest: Logical digest of the columns it was fitted on; see `gateline.data.frame_digest`.
    """

    transforms: tuple[Transform, ...]
    parameters: tuple[Parameters, ...]
    types: Mapping[str, str]
    rows: int
    rows_digest: str

    @property
    def digest(self) -> str:
        """Digest of declarations, parameters and the rows they come from."""
        return digest("feature.fitted", self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; `fitted_from_dict` reads them back."""
        return {
            "transforms": [one.as_dict() for one in self.transforms], "parameters": [dict(one) for one in self.parameters],
            "types": dict(self.types), "rows": self.rows, "rows_digest": self.rows_digest,
        }  # fmt: skip

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with each transformed feature in place of the feature itself; every row depends on itself alone.

        A result too large for a fraction of 64 bits is missing.

        Raises:
            InvalidInput: features are missing, or of another type than they were fitted on; all are named.
        """
        frame = _typed(frame, list(self.types))
        _refuse(list(_type_mistakes(self.types, frame)))
        frame = frame.with_columns(pl.col(name).cast(pl.Float64) for name, dtype in self.types.items() if dtype == "float64")
        for transform, learned in zip(self.transforms, self.parameters, strict=True):
            frame = frame.with_columns(_applied(transform, learned, frame.schema[transform.feature]).alias(transform.feature))
        return frame


def fit(transforms: Sequence[Transform], frame: pl.DataFrame) -> FittedTransforms:
    """Learn the parameters of transforms from rows, each from what the transforms before it make of them.

    Args:
        transforms: The declarations, such as `FeatureSet.fitted`.
        frame: Training rows, as `compute` returns them.

    Raises:
        InvalidInput: a feature is missing, has no values or too large ones, or is not of the kind that its transform needs.
    """
    names = list(dict.fromkeys(one.feature for one in transforms))
    frame = _typed(frame, names)
    _refuse([f"'{name}' is {frame.schema[name]}, which no feature is" for name in names if frame.schema[name] not in FEATURE_TYPES])
    types = {name: FEATURE_TYPES[frame.schema[name]] for name in names}
    pinned, rows = frame_digest(frame.select(names)), frame.height
    parameters: list[Parameters] = []
    for transform in transforms:
        values = frame[transform.feature]
        _refuse([*_kind_mistakes(transform, values.dtype), *_empty(transform, values)])
        parameters.append(_learned(transform, values))
        _refuse(list(_too_large(transform, parameters[-1])))
        frame = frame.with_columns(_applied(transform, parameters[-1], values.dtype).alias(transform.feature))
    return FittedTransforms(transforms=tuple(transforms), parameters=tuple(parameters), types=types, rows=rows, rows_digest=pinned)


def fitted_from_dict(content: Mapping[str, Any]) -> FittedTransforms:
    """Return what `FittedTransforms.as_dict` described.

    Raises:
        InvalidInput: the content is not of that form.
    """
    try:
        transforms = tuple(
            TRANSFORMS[raw["kind"]](**{name: value for name, value in raw.items() if name != "kind"}) for raw in content["transforms"]
        )
        parameters = tuple(dict(one) for one in content["parameters"])
        types = {str(name): str(dtype) for name, dtype in dict(content["types"]).items()}
        rows, pinned = int(content["rows"]), str(content["rows_digest"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"These are no fitted transforms: {error!r}.") from error
    if len(transforms) != len(parameters):
        raise InvalidInput(f"{len(transforms)} transforms come with the parameters of {len(parameters)}.")
    return FittedTransforms(transforms=transforms, parameters=parameters, types=types, rows=rows, rows_digest=pinned)


def _learned(transform: Transform, values: pl.Series) -> Parameters:
    known = values.drop_nulls()
    if known.dtype.is_float():
        # NumPy, since Polars adds nothing where a zero is added: zeros lose their sign, so that equal values may come in any order.
        known = pl.Series(known.name, known.to_numpy() + 0.0)
    match transform:
        case Standardise():
            mean, spread = _moments(known)
            return {"mean": mean, "scale": _inverse(spread) if known.min() != known.max() else 1.0}
        case QuantileClip():
            low, high = (known.quantile(one, interpolation="linear") for one in (transform.low, transform.high))
            return {"low": low, "high": high}
        case OrdinalEncode():
            return {"categories": known.unique().sort().to_list()}
        case Impute(strategy=Strategy.MEAN):
            return {"value": _moments(known)[0]}
        case Impute(strategy=Strategy.MEDIAN):
            return {"value": known.median()}
        case Impute(strategy=Strategy.MOST_FREQUENT):
            return {"value": known.value_counts().sort("count", values.name, descending=[True, False])[values.name][0]}
        case Impute():
            return {"value": transform.value}


def _moments(values: pl.Series) -> tuple[float, float]:
    """Return mean and standard deviation (dividing by n); infinite where a sum leaves the range of fractions."""
    numbers = values.cast(pl.Float64).to_list()
    if min(numbers) == max(numbers):
        return numbers[0], 0.0  # their sum divided by their number may miss them by a bit
    try:
        mean = math.fsum(numbers) / len(numbers)
        with np.errstate(over="ignore", under="ignore"):
            distances = np.asarray(numbers) - mean
            _, exponent = math.frexp(np.abs(distances).max())  # by a power of two, which is exact, no square leaves the range
            squares = np.ldexp(distances, -exponent) ** 2
        return mean, math.ldexp(math.sqrt(math.fsum(squares) / len(numbers)), exponent)
    except OverflowError:
        return math.inf, math.inf


def _inverse(spread: float) -> float:
    """Return 1 / spread; infinite where it cannot be written as a fraction, or the spread itself was too large or too small for one."""
    return 1.0 / spread if 0.0 < spread < math.inf else math.inf


def _applied(transform: Transform, learned: Parameters, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(transform.feature)
    match transform:
        case Standardise():
            # Never divided: Polars divides a table by a number in another way than one row, which differs in the last bit.
            return typed((column.cast(pl.Float64) - float(learned["mean"])) * float(learned["scale"]), pl.Float64())
        case QuantileClip():
            return column.cast(pl.Float64).clip(learned["low"], learned["high"])
        case OrdinalEncode():
            numbers = list(range(len(learned["categories"])))
            encoded = column.replace_strict(
                pl.Series(learned["categories"], dtype=dtype), numbers, default=transform.unknown, return_dtype=pl.Int64
            )
            return pl.when(column.is_not_null()).then(encoded)
        case Impute():
            wide = dtype == pl.Int64 and not isinstance(learned["value"], int)
            return (column.cast(pl.Float64) if wide else column).fill_null(learned["value"])


def _kind_mistakes(transform: Transform, dtype: pl.DataType) -> Iterator[str]:
    """Yield why a transform cannot work on values of a type."""
    where = f"{transform.kind} of '{transform.feature}'"
    numbers = dtype in {pl.Int64(), pl.Float64()}
    averaged = isinstance(transform, Impute) and transform.strategy in {Strategy.MEAN, Strategy.MEDIAN}
    if (isinstance(transform, Standardise | QuantileClip) or averaged) and not numbers:
        yield f"{where} needs numbers, not {dtype}"
    if isinstance(transform, OrdinalEncode) and dtype not in {pl.String(), pl.Int64(), pl.Boolean()}:
        yield f"{where} needs texts, whole numbers or booleans, not {dtype}"
    if isinstance(transform, Impute) and transform.strategy == Strategy.CONSTANT:
        fits = isinstance(transform.value, {pl.String(): str, pl.Boolean(): bool}.get(dtype, int | float))
        if not fits or (numbers and isinstance(transform.value, bool)):
            yield f"{where} puts {transform.value!r} among values of type {dtype}"


def _empty(transform: Transform, values: pl.Series) -> Iterator[str]:
    """Yield why there is nothing to learn, or too much."""
    constant = isinstance(transform, Impute) and transform.strategy == Strategy.CONSTANT
    if values.null_count() == len(values) and not constant:
        yield f"{transform.kind} of '{transform.feature}' has no values to learn from in {len(values):,} rows"
    if isinstance(transform, OrdinalEncode) and (count := values.n_unique()) > CATEGORIES_MAX:
        yield f"{transform.kind} of '{transform.feature}' meets {count:,} categories; at most {CATEGORIES_MAX:,} are kept"


def _too_large(transform: Transform, learned: Parameters) -> Iterator[str]:
    """Yield why what was learned is no number that can be used."""
    if any(isinstance(value, float) and not math.isfinite(value) for value in learned.values()):
        yield f"{transform.kind} of '{transform.feature}' learned {dict(learned)}: the values are too large, or too close to each other"


def _typed(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return the frame with features in the types that features have, where these can be had without loss; NaN and infinity are missing."""
    _refuse([f"feature '{name}' is not in the rows" for name in names if name not in frame.columns])
    return frame.with_columns(typed(pl.col(name), frame.schema[name]) for name in names)


def _type_mistakes(types: Mapping[str, str], frame: pl.DataFrame) -> Iterator[str]:
    """Yield which features are not what they were when the transforms were fitted; whole numbers do for fractions."""
    for name, dtype in types.items():
        found = FEATURE_TYPES.get(frame.schema[name], str(frame.schema[name]))
        if found != dtype and (found, dtype) != ("int64", "float64"):
            yield f"feature '{name}' is {found}, and was {dtype} when they were fitted"


def _refuse(mistakes: Sequence[str]) -> None:
    if mistakes:
        raise InvalidInput(
            f"Fitted transforms cannot be used: {'; '.join(mistakes)}.",
            next_step="Correct `fitted` of the feature set, or the rows.",
            facts={"mistakes": list(mistakes)},
        )
