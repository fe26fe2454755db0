"""From a Python function over columns to expressions: the function is called once with columns that write down what is done to them.

So one pure function serves both sides: its expressions are stored with the set, read by people, and computed by every engine. A
function that looks at values (`if`, `float()`), or returns anything else than columns, is refused when it is declared.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from gateline.kernel.errors import InvalidInput


class Column:
    """A column inside an on-demand function: arithmetic, comparisons, `&`, `|`, `~`, and the functions of this module."""

    __slots__ = ("sql",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, sql: str) -> None:
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
        return Column(f"MOD({_sql(self)}, {_sql(other)})")

    def __pow__(self, other: object) -> Column:
        return Column(f"POW({_sql(self)}, {_sql(other)})")

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

    def __eq__(self, other: object) -> Column:  # type: ignore[override]
        return _binary(self, "=", other)

    def __ne__(self, other: object) -> Column:  # type: ignore[override]
        return _binary(self, "<>", other)

    def __and__(self, other: object) -> Column:
        return _binary(self, "AND", other)

    def __or__(self, other: object) -> Column:
        return _binary(self, "OR", other)

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
        raise InvalidInput("An on-demand function turns a column into one number.", next_step="Use operators and gateline.features.column.")

    __int__ = __float__
    __index__ = __float__

    def __iter__(self) -> NoReturn:
        raise InvalidInput("An on-demand function walks through a column.", next_step="Write what is done to each row, without loops.")


def where(condition: Column, then: object, otherwise: object) -> Column:
    """Return `then` for the rows where the condition holds, else `otherwise`."""
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


def trace(name: str, function: Callable[..., Mapping[str, Any]]) -> dict[str, str]:
    """Return feature name to expression, as a function computes them.

    >>> trace("speed", lambda distance, hours: {"speed": distance / hours})
    {'speed': '(CAST(distance AS DOUBLE) / hours)'}

    Raises:
        InvalidInput: the function has parameters that cannot be columns, or returns anything else than names and columns.
    """
    parameters = inspect.signature(function).parameters.values()
    if wrong := [one.name for one in parameters if one.kind not in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY}]:
        raise InvalidInput(f"The function of on-demand view '{name}' has the parameters {', '.join(wrong)}, which name no columns.")
    found: object = function(**{one.name: Column(one.name) for one in parameters})
    columns = dict(found) if isinstance(found, Mapping) else {}
    if not columns or not all(isinstance(value, Column) for value in columns.values()):
        raise InvalidInput(
            f"The function of on-demand view '{name}' must return a mapping of feature name to column, not {type(found).__name__}.",
            next_step='Return for example {"speed": distance / hours}.',
        )
    return {str(feature): value.sql for feature, value in columns.items()}


def _binary(left: object, operator: str, right: object) -> Column:
    return Column(f"({_sql(left)} {operator} {_sql(right)})")


def _sql(value: object) -> str:
    if isinstance(value, Column):
        return value.sql
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    raise InvalidInput(f"An on-demand function uses a {type(value).__name__}, which is no column, number or text.")
