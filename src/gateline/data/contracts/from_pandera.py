"""A contract from a pandera schema or model, for Polars or for pandas. What has the same meaning here is taken over; all else is refused.

pandera is never imported: who hands in one of its schemas has imported it already. Checks are told by the names and statistics under which
pandera 0.30 to 0.35 registers its own (`pandera.api.checks.Check`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gateline.data.contracts.form import canonical_bound, contract_from_dict
from gateline.data.contracts.model import ColumnRule, Compatibility, Contract
from gateline.data.contracts.rules import CATEGORICAL, RANGED, below
from gateline.data.model import ColumnType
from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.data.contracts.model import Bound

_MODULES = ("pandera.api.polars.", "pandera.api.pandas.")
_TYPES: Mapping[str, ColumnType] = {
    "Int64": ColumnType.INT64, "int64": ColumnType.INT64, "Float64": ColumnType.FLOAT64, "float64": ColumnType.FLOAT64,
    "Float32": ColumnType.FLOAT64, "float32": ColumnType.FLOAT64, "String": ColumnType.STRING, "str": ColumnType.STRING,
    "string": ColumnType.STRING, "Categorical": ColumnType.STRING, "category": ColumnType.STRING, "Enum": ColumnType.STRING,
    "Boolean": ColumnType.BOOLEAN, "bool": ColumnType.BOOLEAN, "boolean": ColumnType.BOOLEAN, "Date": ColumnType.DATE,
    "date": ColumnType.DATE,
}  # fmt: skip
_SMALL_INTEGERS: Mapping[str, tuple[int, int]] = {
    **{name: (-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (8, 16, 32) for name in (f"Int{bits}", f"int{bits}")},
    **{name: (0, (1 << bits) - 1) for bits in (8, 16, 32) for name in (f"UInt{bits}", f"uint{bits}")},
}


def contract_from_pandera(schema: object, dataset: str, *, compatibility: Compatibility | str = Compatibility.BACKWARD) -> Contract:
    """Return the contract that says what a pandera schema says.

    `metadata={"gateline": {"personal": {"kind": "contact", "note": "…"}, "protected": True}}` of a column becomes its marks. Narrow
    integers become int64 with the range of their type; exclusive bounds become the next value inside.

    Args:
        schema: A `DataFrameSchema` or a `DataFrameModel` class of `pandera.polars` or `pandera.pandas`.
        dataset: Name of the dataset.
        compatibility: What the successor of this contract must respect; pandera has no word for it.

    Raises:
        InvalidInput: it is no such schema, or holds what a contract cannot say; everything of the kind is named.
    """
    given: Any = schema
    found = given.to_schema() if isinstance(schema, type) and hasattr(schema, "to_schema") else given
    if not type(found).__module__.startswith(_MODULES) or not hasattr(found, "columns"):
        raise InvalidInput(
            f"{type(schema).__name__} is no schema of pandera.polars or pandera.pandas.",
            next_step="Hand in a DataFrameSchema or a DataFrameModel.",
        )
    mistakes = _table_mistakes(found)
    columns = [_column(str(name), column, mistakes) for name, column in found.columns.items()]
    keys = [found.unique] if isinstance(found.unique, str) else list(found.unique or ())
    mistakes += [f"the key {keys} has the nullable column '{rule.name}'" for rule in columns if rule.name in keys and rule.nullable]
    if mistakes:
        raise InvalidInput(
            f"The pandera schema says what a contract cannot: {'; '.join(mistakes)}.",
            next_step="Take these parts out of the schema, or write the contract as TOML.",
            facts={"mistakes": mistakes},
        )
    contract = Contract(
        dataset=dataset, columns=tuple(columns), keys=(tuple(keys),) if keys else (), extra_columns=found.strict is False,
        description=str(found.description or ""),
    )  # fmt: skip
    return contract_from_dict({**contract.as_dict(), "compatibility": str(compatibility)})


def _table_mistakes(schema: Any) -> list[str]:
    found = [f"the check '{check.name}' of the whole table" for check in schema.checks or ()]
    found += ["strict='filter', which drops columns"] if schema.strict == "filter" else []
    index = getattr(schema, "index", None)
    wanted = {
        "ordered": schema.ordered, "coerce": schema.coerce, "a dtype of all columns": schema.dtype is not None,
        "an index": index is not None, "parsers": schema.parsers, "add_missing_columns": schema.add_missing_columns,
        "drop_invalid_rows": schema.drop_invalid_rows,
    }  # fmt: skip
    return found + [name for name, is_set in wanted.items() if is_set]


def _column(name: str, column: Any, mistakes: list[str]) -> ColumnRule:
    where = f"column '{name}'"
    wanted = {
        "a pattern instead of a name": column.regex, "coerce": column.coerce, "parsers": column.parsers,
        "a default": column.default is not None, "drop_invalid_rows": column.drop_invalid_rows,
        "unique with missing values, which pandera compares": column.unique and column.nullable,
    }  # fmt: skip
    mistakes += [f"{where}: {what}" for what, is_set in wanted.items() if is_set]
    rule = ColumnRule(
        name=name, dtype=_dtype(column.dtype) or ColumnType.STRING, required=column.required, nullable=column.nullable,
        unique=column.unique, description=str(column.description or ""),
    )  # fmt: skip
    if _dtype(column.dtype) is None:
        mistakes.append(f"{where}: the type {column.dtype}" if column.dtype is not None else f"{where}: no type is given")
        return rule
    low, high = _SMALL_INTEGERS.get(_type_name(column.dtype), (None, None))
    rule = _marked(replace(rule, min=low, max=high, categories=_type_categories(column.dtype)), column.metadata, mistakes)
    for check in column.checks or ():
        following = None if check.raise_warning else _checked(rule, str(check.name), dict(check.statistics or {}))
        if following is None:
            mistakes.append(f"{where}: the check '{check.error or check.name}'{' that only warns' if check.raise_warning else ''}")
        else:
            rule = following
    return replace(rule, min=None, max=None) if rule.categories is not None else rule


def _type_name(dtype: Any) -> str:
    """Return the bare name of a pandera dtype, such as Int64 or datetime64."""
    return str(dtype).removeprefix("DataType(").split("(")[0].split("[")[0].rstrip(")")


def _dtype(dtype: Any) -> ColumnType | None:
    if dtype is None:
        return None
    name = _type_name(dtype)
    if name in _SMALL_INTEGERS:
        return ColumnType.INT64
    if name in {"Datetime", "datetime64"}:
        zone = getattr(dtype.type, "time_zone", None) or getattr(dtype, "tz", None)
        return ColumnType.DATETIME if zone is not None else ColumnType.NAIVE_DATETIME
    return _TYPES.get(name)


def _type_categories(dtype: Any) -> tuple[str, ...] | None:
    values = getattr(dtype, "categories", None)
    return None if values is None else tuple(sorted(map(str, values)))


def _marked(rule: ColumnRule, metadata: Any, mistakes: list[str]) -> ColumnRule:
    """Return the rule with the marks that `metadata` holds for us; what others keep there is theirs."""
    marks = (metadata or {}).get("gateline", {})
    fields = {**rule.as_dict(), **marks}
    if unknown := sorted(marks.keys() - {"personal", "protected"}):
        mistakes.append(f"column '{rule.name}': metadata {', '.join(unknown)}, where only personal and protected are known")
        return rule
    try:
        return contract_from_dict({"dataset": "marks", "columns": [fields]}).columns[0] if marks else rule
    except InvalidInput as error:
        mistakes += error.facts["mistakes"]
        return rule


def _checked(rule: ColumnRule, name: str, statistics: dict[str, Any]) -> ColumnRule | None:
    """Return the rule that also holds what a check says, or None when a contract cannot say it."""
    match name:
        case "greater_than_or_equal_to" | "greater_than":
            return _from(rule, statistics["min_value"], include=name == "greater_than_or_equal_to")
        case "less_than_or_equal_to" | "less_than":
            return _up_to(rule, statistics["max_value"], include=name == "less_than_or_equal_to")
        case "in_range":
            low = _from(rule, statistics["min_value"], include=statistics.get("include_min", True))
            return None if low is None else _up_to(low, statistics["max_value"], include=statistics.get("include_max", True))
        case "isin":
            return _among(rule, list(statistics["allowed_values"]))
        case "equal_to":
            return _among(rule, [statistics["value"]])
        case _:
            return None


def _among(rule: ColumnRule, values: list[Any]) -> ColumnRule | None:
    wanted: type = int if rule.dtype is ColumnType.INT64 else str
    if rule.dtype not in CATEGORICAL or any(type(value) is not wanted for value in values):
        return None
    within = [
        value
        for value in values
        if (rule.categories is None or value in rule.categories)
        and (rule.min is None or not below(value, rule.min))
        and (rule.max is None or not below(rule.max, value))
    ]
    return replace(rule, categories=tuple(sorted(set(within)))) if within else None


def _from(rule: ColumnRule, value: Any, *, include: bool) -> ColumnRule | None:
    bound = _inside(rule.dtype, value, 1, include=include)
    if bound is None:
        return None
    narrowed = replace(rule, min=bound if rule.min is None or below(rule.min, bound) else rule.min)
    return narrowed if rule.categories is None else _among(narrowed, list(rule.categories))


def _up_to(rule: ColumnRule, value: Any, *, include: bool) -> ColumnRule | None:
    bound = _inside(rule.dtype, value, -1, include=include)
    if bound is None:
        return None
    narrowed = replace(rule, max=bound if rule.max is None or below(bound, rule.max) else rule.max)
    return narrowed if rule.categories is None else _among(narrowed, list(rule.categories))


def _inside(dtype: ColumnType, value: Any, step: int, *, include: bool) -> Bound | None:
    """Return the outermost value of a type that a bound lets in, as seen from above (`step` 1) or from below (-1)."""
    if dtype not in RANGED or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _inside_number(dtype, value, step, include=include)
    if dtype is ColumnType.DATE and isinstance(value, date) and not isinstance(value, datetime):
        return (value if include else value + timedelta(days=step)).isoformat()
    if isinstance(value, datetime) and dtype is not ColumnType.DATE:
        moment = datetime.fromisoformat(value.isoformat(timespec="microseconds"))  # pandas time stamps are subclasses with nanoseconds
        return canonical_bound(moment if include else moment + timedelta(microseconds=step), dtype)
    return None


def _inside_number(dtype: ColumnType, value: float, step: int, *, include: bool) -> Bound | None:
    if not math.isfinite(value):
        return None
    if dtype is ColumnType.INT64:
        nearest = math.ceil(value) if step == 1 else math.floor(value)
        return nearest if include or nearest != value else nearest + step
    if dtype is ColumnType.FLOAT64:
        return float(value) if include else math.nextafter(value, math.copysign(math.inf, step))
    return None
