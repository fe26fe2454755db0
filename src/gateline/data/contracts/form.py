"""Contracts as people write them: TOML or JSON text, and the JSON objects of the API. Reading is strict; all mistakes are named at once."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, TypeVar

from gateline.data.contracts.model import (
    Bound,
    ColumnRule,
    Compatibility,
    Contract,
    ContractId,
    ContractOrigin,
    ContractState,
    ContractVersion,
    Freshness,
    Personal,
    PersonalKind,
    Review,
    RowCountChange,
)
from gateline.data.contracts.rules import CATEGORICAL, CATEGORIES_MAX, RANGED, contract_mistakes
from gateline.data.model import ColumnType
from gateline.kernel.errors import InvalidInput

Choice = TypeVar("Choice", bound=StrEnum)
_INT64 = 1 << 63
_CONTRACT = ("dataset", "description", "compatibility", "extra_columns", "keys", "freshness", "row_count_change", "columns")
_COLUMN = (
    "name", "dtype", "required", "nullable", "missing_share_max", "min", "max", "categories", "unique", "protected", "personal",
    "description",
)  # fmt: skip


def contract_from_dict(document: Mapping[str, Any]) -> Contract:
    """Return the contract that `Contract.as_dict` described, or that was read from TOML; times and sets get their canonical form.

    Raises:
        InvalidInput: fields are missing, unknown, of the wrong type or against the rules; all are named.
    """
    reader = _Reader()
    reader.check_names(document, _CONTRACT, "the contract")
    columns = tuple(rule for raw in reader.items(document, "columns", "the contract") if (rule := reader.column(raw)) is not None)
    contract = Contract(
        dataset=reader.text(document, "dataset", "the contract"),
        columns=columns,
        keys=reader.keys(document),
        freshness=reader.freshness(document.get("freshness")),
        row_count_change=reader.row_count_change(document.get("row_count_change")),
        extra_columns=reader.flag(document, "extra_columns", "the contract", default=False),
        compatibility=reader.choice(document.get("compatibility", "backward"), Compatibility, "compatibility"),
        description=reader.text(document, "description", "the contract", default=""),
    )
    refuse(contract.dataset, reader.mistakes or contract_mistakes(contract))
    return contract


def contract_from_text(text: str, *, name: str) -> Contract:
    """Return the contract in a TOML or JSON text; `name` is what errors call it.

    Raises:
        InvalidInput: the text is neither, or the contract has mistakes.
    """
    try:
        document = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name} is neither TOML nor JSON: {error}.", next_step="See: gateline contract show --toml.") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{name} holds no table of fields.", next_step="See: gateline contract show --toml.")
    return contract_from_dict(document)


def contract_to_toml(contract: Contract) -> str:
    """Return the contract as TOML, which `contract_from_text` reads back."""
    content = contract.as_dict()
    tables = {name: content.pop(name) for name in ("freshness", "row_count_change") if name in content}
    columns = content.pop("columns")
    lines = [f"{name} = {_toml(value)}" for name, value in content.items()]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{field} = {_toml(value)}" for field, value in table.items())]
    for column in columns:
        lines += ["", "[[columns]]", *(f"{field} = {_toml(value)}" for field, value in column.items())]
    return "\n".join(lines) + "\n"


def contract_version_from_dict(content: Mapping[str, Any]) -> ContractVersion:
    """Return the version that `ContractVersion.as_dict` described; raises InvalidInput when its contract is broken."""
    review = content["review"]
    return ContractVersion(
        id=ContractId(content["id"]), dataset=content["dataset"], version=content["version"], digest=content["digest"],
        contract=contract_from_dict(content["contract"]), origin=ContractOrigin(content["origin"]), evidence=dict(content["evidence"]),
        created_at=content["created_at"], created_by=content["created_by"], state=ContractState(content["state"]),
        review=None if review is None else Review(**review),
    )  # fmt: skip


def refuse(dataset: str, mistakes: list[str]) -> None:
    """Raise one error that names all mistakes of a contract; does nothing when there are none.

    Raises:
        InvalidInput: there is at least one mistake.
    """
    if mistakes:
        raise InvalidInput(
            f"The contract of '{dataset[:100]}' has {len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}: {'; '.join(mistakes)}.",
            next_step="Correct the contract and propose it again.",
            facts={"mistakes": mistakes},
        )


def canonical_bound(value: object, dtype: ColumnType) -> Bound | None:
    """Return a bound of a column in its canonical form, or None when it is no value of that type.

    >>> canonical_bound("2013-01-01T00:00:00-05:00", ColumnType.DATETIME)
    '2013-01-01T05:00:00.000000Z'
    """
    if dtype is ColumnType.INT64:
        return value if isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64 else None
    if dtype is ColumnType.FLOAT64:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None
    try:
        if dtype is ColumnType.DATE:
            moment = date.fromisoformat(value) if isinstance(value, str) else value
            return moment.isoformat() if isinstance(moment, date) and not isinstance(moment, datetime) else None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(moment, datetime) or (moment.tzinfo is None) != (dtype is ColumnType.NAIVE_DATETIME):
            return None
        text = (moment if moment.tzinfo is None else moment.astimezone(UTC)).replace(tzinfo=None).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        return None
    return text if dtype is ColumnType.NAIVE_DATETIME else f"{text}Z"


class _Reader:
    """Makes values of JSON objects and gathers what is wrong with them; what is wrong becomes a harmless stand-in."""

    def __init__(self) -> None:
        self.mistakes: list[str] = []

    def check_names(self, raw: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
        self.mistakes += [f"{where}: unknown field '{name}'" for name in raw if name not in known]

    def items(self, raw: Mapping[str, Any], name: str, where: str) -> list[Any]:
        value = raw.get(name, [])
        if not isinstance(value, list):
            self.mistakes.append(f"{where}: '{name}' must be a list")
            return []
        return value

    def text(self, raw: Mapping[str, Any], name: str, where: str, default: str | None = None) -> str:
        return str(self._typed(raw, name, where, _is_text, "a text", default, ""))

    def flag(self, raw: Mapping[str, Any], name: str, where: str, *, default: bool) -> bool:
        return bool(self._typed(raw, name, where, lambda value: isinstance(value, bool), "true or false", default, default))

    def share(self, raw: Mapping[str, Any], name: str, where: str) -> float | None:
        if raw.get(name) is None:
            return None
        return float(self._typed(raw, name, where, _is_number, "a number", None, 0.0))

    def choice(self, value: object, kind: type[Choice], where: str) -> Choice:
        members = list(kind)
        found = next((one for one in members if one.value == value), None)
        if found is None:
            self.mistakes.append(f"{where}: '{str(value)[:100]}' is none of {', '.join(members)}")
        return found or members[0]

    def keys(self, raw: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
        keys = []
        for key in self.items(raw, "keys", "the contract"):
            if isinstance(key, list) and all(isinstance(name, str) for name in key):
                keys.append(tuple(sorted(set(key))))
            else:
                self.mistakes.append("the contract: each of 'keys' must be a list of column names")
        return tuple(sorted(set(keys)))

    def freshness(self, raw: Any) -> Freshness | None:
        if raw is None or not self._is_object(raw, "freshness"):
            return None
        self.check_names(raw, ("column", "age_seconds_max"), "freshness")
        age = self._typed(raw, "age_seconds_max", "freshness", lambda value: type(value) is int, "a whole number", None, 1)
        return Freshness(column=self.text(raw, "column", "freshness"), age_seconds_max=age)

    def row_count_change(self, raw: Any) -> RowCountChange | None:
        if raw is None or not self._is_object(raw, "row_count_change"):
            return None
        names = ("shrink_share_max", "growth_share_max")
        self.check_names(raw, names, "row_count_change")
        shrink, growth = (self.share(raw, name, "row_count_change") for name in names)
        return None if shrink is None and growth is None else RowCountChange(shrink_share_max=shrink, growth_share_max=growth)

    def column(self, raw: Any) -> ColumnRule | None:
        if not self._is_object(raw, "each of 'columns'"):
            return None
        name = self.text(raw, "name", "a column")
        where = f"column '{name[:100]}'"
        self.check_names(raw, _COLUMN, where)
        dtype = self.choice(raw.get("dtype"), ColumnType, where)
        return ColumnRule(
            name=name, dtype=dtype, required=self.flag(raw, "required", where, default=True),
            nullable=self.flag(raw, "nullable", where, default=False), missing_share_max=self.share(raw, "missing_share_max", where),
            min=self._bound(raw, "min", dtype, where), max=self._bound(raw, "max", dtype, where),
            categories=self._categories(raw, dtype, where), unique=self.flag(raw, "unique", where, default=False),
            protected=self.flag(raw, "protected", where, default=False), personal=self._personal(raw.get("personal"), where),
            description=self.text(raw, "description", where, default=""),
        )  # fmt: skip

    def _bound(self, raw: Mapping[str, Any], name: str, dtype: ColumnType, where: str) -> Bound | None:
        value = raw.get(name)
        if value is None:
            return None
        if dtype not in RANGED:
            self.mistakes.append(f"{where}: a {dtype} has no {name}")
            return None
        bound = canonical_bound(value, dtype)
        if bound is None:
            self.mistakes.append(f"{where}: {name} '{str(value)[:100]}' is no {dtype}")
        return bound

    def _categories(self, raw: Mapping[str, Any], dtype: ColumnType, where: str) -> tuple[str, ...] | tuple[int, ...] | None:
        if raw.get("categories") is None:
            return None
        values = self.items(raw, "categories", where)
        wanted: type = int if dtype is ColumnType.INT64 else str
        if dtype in CATEGORICAL and (
            wrong := [value for value in values if type(value) is not wanted or (wanted is str and not _is_text(value))]
        ):
            self.mistakes.append(f"{where}: the category '{str(wrong[0])[:100]}' is no {dtype}")
            return None
        if len(values) > CATEGORIES_MAX:
            self.mistakes.append(f"{where}: it has {len(values):,} categories; 1 to {CATEGORIES_MAX:,} are allowed")
            return None
        return tuple(sorted(set(values))) if dtype in CATEGORICAL else tuple(map(str, values))

    def _personal(self, raw: Any, where: str) -> Personal | None:
        if raw is None or not self._is_object(raw, f"{where}: personal"):
            return None
        self.check_names(raw, ("kind", "note"), f"{where}: personal")
        kind = self.choice(raw.get("kind"), PersonalKind, f"{where}: personal, kind")
        return Personal(kind=kind, note=self.text(raw, "note", f"{where}: personal", default=""))

    def _is_object(self, raw: Any, where: str) -> bool:
        if isinstance(raw, dict):
            return True
        self.mistakes.append(f"{where} must be an object")
        return False

    def _typed(
        self, raw: Mapping[str, Any], name: str, where: str, fits: Callable[[Any], bool], what: str, default: Any, stand_in: Any
    ) -> Any:
        if name not in raw:
            if default is None:
                self.mistakes.append(f"{where}: '{name}' is missing")
                return stand_in
            return default
        if fits(raw[name]):
            return raw[name]
        self.mistakes.append(f"{where}: '{name}' must be {what}")
        return stand_in


def _is_text(value: Any) -> bool:
    """Whether a value is text that UTF-8 can carry: JSON may hold halves of surrogate pairs."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _toml(value: Any) -> str:
    """Return a value in TOML, which writes texts, numbers and lists as JSON does, but for the delete character."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
