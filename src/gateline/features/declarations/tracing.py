"""From a Python function over columns to expressions: the function is called once with columns that write down what is done to them.

So one pure function serves both sides: its expressions are stored with the set, read by people, and computed by every engine. A
function that looks at values (`if`, `for`, `float()`), or returns anything else than columns, is refused when it is declared.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from gateline.kernel.errors import InvalidInput
from gateline.kernel.limits import TEXT_LENGTH_MAX


class Column:
    """A column inside an on-demand function: arithmetic, comparisons, `&`, `|`, `~`, and the functions of this module.

    `/` gives fractions; `%` has the sign of the divisor, as in Python. A missing operand gives a missing result.
    """

    __slots__ = ("sql",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, sql: str) -> None:
        if len(sql) > TEXT_LENGTH_MAX:
            raise InvalidInput(
                f"An on-demand function grows into an expression of more than {TEXT_LENGTH_MAX:,} characters.",
                next_step="Use fewer steps, or compute a part of it as a column of a source.",
            )
        self.sql = sql

    def __add__(self, other: object) -> Column:
        return _binary(self, "+", other)

    def __radd__(self, other: object) -> Column:
        return _binary(other, "+", self)

    def __sub__(self, other: object) -> Column:
        return _binary(self, "-", other)

    def __rsub__(self, other: object) -> Column:
        return _binary(other, "-", self)

    def __mul__(self, other: object) -> Column:
        return _binary(self, "*", other)

    def __rmul__(self, other: object) -> Column:
        return _binary(other, "*", self)

    def __truediv__(self, other: object) -> Column:
        return Column(f"(CAST({_sql(self)} AS DOUBLE) / {_sql(other)})")

    def __rtruediv__(self, other: object) -> Column:
        return Column(f"(CAST({_sql(other)} AS DOUBLE) / {_sql(self)})")

    def __mod__(self, other: object) -> Column:
        return _modulo(self, other)

    def __rmod__(self, other: object) -> Column:
        return _modulo(other, self)

    def __pow__(self, other: object) -> Column:
        return Column(f"POW(CAST({_sql(self)} AS DOUBLE), {_sql(other)})")

    def __rpow__(self, other: object) -> Column:
        return Column(f"POW(CAST({_sql(other)} AS DOUBLE), {_sql(self)})")

    def __neg__(self) -> Column:
        return Column(f"(0 - {self.sql})")

    def __abs__(self) -> Column:
        return Column(f"ABS({self.sql})")

    def __lt__(self, other: object) -> Column:
        return _binary(self, "<", other)

    def __le__(self, other: object) -> Column:
        return _binary(self, "<=", other)

    def __gt__(self, other: object) -> Column:
        return _binary(self, ">", other)

    def __ge__(self, other: object) -> Column:
        return _binary(self, ">=", other)

    def __eq__(self, other: object) -> Column:  # type: ignore[override]  # ty: ignore[incompatible-method-override]
        return _equal(self, "=", other)

    def __ne__(self, other: object) -> Column:  # type: ignore[override]  # ty: ignore[incompatible-method-override]
        return _equal(self, "<>", other)

    def __and__(self, other: object) -> Column:
        return _binary(self, "AND", other)

    def __or__(self, other: object) -> Column:
        return _binary(self, "OR", other)

    __rand__ = __and__
    __ror__ = __or__

    def __invert__(self) -> Column:
        return Column(f"(NOT {self.sql})")

    def is_missing(self) -> Column:
        """Whether there is no value."""
        return Column(f"({self.sql} IS NULL)")

    def __bool__(self) -> NoReturn:
        raise InvalidInput(
            "An on-demand function looks at the truth of a column, which has a value for each row.",
            next_step="Use where(condition, then, otherwise), and & | ~ instead of and, or, not.",
        )

    def __float__(self) -> NoReturn:
        raise InvalidInput(
            "An on-demand function turns a column into one number.",
            next_step="Use operators and the functions of gateline.features.declarations.tracing, such as log and sqrt.",
        )

    __int__ = __float__
    __index__ = __float__

    def __iter__(self) -> NoReturn:
        raise InvalidInput("An on-demand function walks through a column.", next_step="Write what is done to each row, without loops.")


def where(condition: object, then: object, otherwise: object) -> Column:
    """Return `then` for the rows where the condition holds, and `otherwise` where it does not or is missing."""
    return Column(f"(CASE WHEN {_sql(condition)} THEN {_sql(then)} ELSE {_sql(otherwise)} END)")


def coalesce(*values: object) -> Column:
    """Return the first value that is not missing."""
    return Column(f"COALESCE({', '.join(_sql(value) for value in values)})")


def log(value: Column) -> Column:
    """Return the natural logarithm."""
    return Column(f"LN({_sql(value)})")


def exp(value: Column) -> Column:
    """Return e to the power of the value."""
    return Column(f"EXP({_sql(value)})")


def sqrt(value: Column) -> Column:
    """Return the square root."""
    return Column(f"SQRT({_sql(value)})")


def sin(value: Column) -> Column:
    """Return the sine of an angle in radians."""
    return Column(f"SIN({_sql(value)})")


def cos(value: Column) -> Column:
    """Return the cosine of an angle in radians."""
    return Column(f"COS({_sql(value)})")


def floor(value: Column) -> Column:
    """Return the largest whole number that is not greater."""
    return Column(f"FLOOR({_sql(value)})")


def ceil(value: Column) -> Column:
    """Return the smallest whole number that is not less."""
    return Column(f"CEIL({_sql(value)})")


def greatest(*values: object) -> Column:
    """Return the greatest of the values that are not missing."""
    return Column(f"GREATEST({', '.join(_sql(value) for value in values)})")


def least(*values: object) -> Column:
    """Return the least of the values that are not missing."""
    return Column(f"LEAST({', '.join(_sql(value) for value in values)})")


def trace(name: str, function: Callable[..., Mapping[str, Any]]) -> dict[str, str]:
    """Return feature name to expression, as a function computes them.

    >>> trace("speed", lambda distance, hours: {"speed": distance / hours})
    {'speed': '(CAST(distance AS DOUBLE) / hours)'}

    Raises:
        InvalidInput: the function has parameters that cannot be columns, does what columns cannot, or returns anything else than names
            and columns.
    """
    parameters = inspect.signature(function).parameters.values()
    if wrong := [one.name for one in parameters if one.kind not in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY}]:
        raise InvalidInput(f"The function of on-demand view '{name}' has the parameters {', '.join(wrong)}, which name no columns.")
    try:
        found: object = function(**{one.name: Column(one.name) for one in parameters})
    except (TypeError, AttributeError) as error:
        raise InvalidInput(
            f"The function of on-demand view '{name}' does what columns cannot: {error}.",
            next_step="Use operators and the functions of gateline.features.tracing.",
        ) from error
    columns = dict(found) if isinstance(found, Mapping) else {}
    if not columns or not all(isinstance(value, Column) for value in columns.values()):
        what = f"a mapping that holds {_kinds(columns)}" if columns else type(found).__name__
        raise InvalidInput(
            f"The function of on-demand view '{name}' must return a mapping of feature name to column, not {what}.",
            next_step='Return for example {"speed": distance / hours}.',
        )
    return {str(feature): value.sql for feature, value in columns.items()}


def _kinds(columns: Mapping[Any, object]) -> str:
    return ", ".join(f"{type(value).__name__} for '{feature}'" for feature, value in columns.items() if not isinstance(value, Column))


def _binary(left: object, operator: str, right: object) -> Column:
    return Column(f"({_sql(left)} {operator} {_sql(right)})")


def _equal(left: object, operator: str, right: object) -> Column:
    if right is None:
        raise InvalidInput("An on-demand function compares a column with None, which nothing equals.", next_step="Use column.is_missing().")
    return _binary(left, operator, right)


def _modulo(left: object, right: object) -> Column:
    divisor = _sql(right)
    return Column(f"MOD(MOD({_sql(left)}, {divisor}) + {divisor}, {divisor})")


def _sql(value: object) -> str:
    if isinstance(value, Column):
        return value.sql
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return repr(int(value))
    if isinstance(value, float):
        return _fraction(float(value))
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    raise InvalidInput(f"An on-demand function uses a {type(value).__name__}, which is no column, number or text.")


def _fraction(value: float) -> str:
    """Return a fraction with an exponent, which every engine reads as a double; without one it would be a decimal."""
    if not math.isfinite(value):
        raise InvalidInput(f"An on-demand function uses the number {value}.", next_step="Use None for a missing value.")
    text = repr(value)
    return text if "e" in text else f"{text}e0"
