"""What a contract must satisfy, and whether one may follow another. Pure, and light: no table is looked at here."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gateline.data.contracts.model import Bound, Break, Category, ColumnRule, Compatibility, Contract, ContractId
from gateline.data.model import ColumnType
from gateline.kernel.errors import InvalidInput
from gateline.kernel.limits import NAME_LENGTH_MAX, TABLE_COLUMNS_MAX, TEXT_LENGTH_MAX
from gateline.kernel.names import split_version_id, valid_name

if TYPE_CHECKING:
    from collections.abc import Iterator

CATEGORIES_MAX = 10_000
RANGED = frozenset({ColumnType.INT64, ColumnType.FLOAT64, ColumnType.DATE, ColumnType.DATETIME, ColumnType.NAIVE_DATETIME})
CATEGORICAL = frozenset({ColumnType.STRING, ColumnType.INT64})
_CLOCKED = frozenset({ColumnType.DATE, ColumnType.DATETIME})
_SUFFIX = "/contract"


def contract_id(dataset: str, number: int) -> ContractId:
    """Return the id of a contract version.

    >>> contract_id("flights", 3)
    'flights/contract@3'
    """
    return ContractId(f"{dataset}{_SUFFIX}@{number}")


def split_contract_id(text: str) -> tuple[str, int | None]:
    """Return dataset and number of a contract id; a bare dataset name has no number and means the contract in force.

    >>> split_contract_id("flights/contract@3"), split_contract_id("flights")
    (('flights', 3), ('flights', None))

    Raises:
        InvalidInput: the text is neither; `flights@3` is the id of a dataset version.
    """
    if "@" not in text and "/" not in text:
        return text, None
    name, number = split_version_id(text) if "@" in text else (text, 0)
    if not name.endswith(_SUFFIX) or number < 1:
        raise InvalidInput(f"'{text}' is not the id of a contract.", next_step="Write DATASET/contract@NUMBER, such as flights/contract@1.")
    return name.removesuffix(_SUFFIX), number


def contract_mistakes(contract: Contract) -> list[str]:
    """Return everything that is wrong with a contract, each a phrase that names the place."""
    return [*_table_mistakes(contract), *(mistake for rule in contract.columns for mistake in _column_mistakes(rule))]


def _table_mistakes(contract: Contract) -> Iterator[str]:
    try:
        valid_name("dataset", contract.dataset)
    except InvalidInput as error:
        yield error.message.removesuffix(".")
    if not 0 < len(contract.columns) <= TABLE_COLUMNS_MAX:
        yield f"it names {len(contract.columns):,} columns; 1 to {TABLE_COLUMNS_MAX:,} are allowed"
    if len(contract.description) > TEXT_LENGTH_MAX:
        yield f"its description is longer than {TEXT_LENGTH_MAX:,} characters"
    yield from (
        f"column '{name}' is named {count} times" for name, count in Counter(rule.name for rule in contract.columns).items() if count > 1
    )
    rules = contract.rules
    for key in contract.keys:
        if not key:
            yield "a key names no columns"
        yield from (f"key {_names(key)}: '{name}' is no required column" for name in key if name not in rules or not rules[name].required)
    yield from _limit_mistakes(contract)


def _limit_mistakes(contract: Contract) -> Iterator[str]:
    fresh, change = contract.freshness, contract.row_count_change
    if fresh is not None:
        rule = contract.rules.get(fresh.column)
        if rule is None or not rule.required or rule.dtype not in _CLOCKED:
            yield f"freshness: '{fresh.column}' is no required column of type date or datetime"
        if rule is not None and rule.personal is not None:
            yield f"freshness: '{fresh.column}' is personal, and a refusal would tell its newest value"
        if fresh.age_seconds_max <= 0:
            yield f"freshness: age_seconds_max must be positive, not {fresh.age_seconds_max}"
    if change is not None:
        if change.shrink_share_max is not None and not 0 <= change.shrink_share_max <= 1:
            yield f"row_count_change: shrink_share_max must lie in 0 to 1, not {change.shrink_share_max}"
        if change.growth_share_max is not None and change.growth_share_max < 0:
            yield f"row_count_change: growth_share_max must not be negative, but is {change.growth_share_max}"


def _column_mistakes(rule: ColumnRule) -> Iterator[str]:
    where = f"column '{rule.name[:NAME_LENGTH_MAX]}'"
    if not rule.name.strip() or len(rule.name) > NAME_LENGTH_MAX:
        yield f"{where}: the name must have 1 to {NAME_LENGTH_MAX} characters"
    if rule.missing_share_max is not None:
        if not rule.nullable:
            yield f"{where}: missing_share_max is given, but the column is not nullable"
        if not 0 <= rule.missing_share_max <= 1:
            yield f"{where}: missing_share_max must lie in 0 to 1, not {rule.missing_share_max}"
    if (rule.min is not None or rule.max is not None) and rule.dtype not in RANGED:
        yield f"{where}: a {rule.dtype} has no min and max"
    elif rule.min is not None and rule.max is not None and below(rule.max, rule.min):
        yield f"{where}: min {rule.min} is above max {rule.max}"
    if rule.categories is not None:
        if rule.dtype not in CATEGORICAL:
            yield f"{where}: a {rule.dtype} has no categories; only {' and '.join(sorted(CATEGORICAL))} do"
        if not 0 < len(rule.categories) <= CATEGORIES_MAX:
            yield f"{where}: it has {len(rule.categories):,} categories; 1 to {CATEGORIES_MAX:,} are allowed"
        if rule.min is not None or rule.max is not None:
            yield f"{where}: give a range or categories, not both"
    texts = {"description": rule.description, "note of personal": rule.personal.note if rule.personal else ""}
    yield from (
        f"{where}: the {what} is longer than {TEXT_LENGTH_MAX:,} characters" for what, text in texts.items() if len(text) > TEXT_LENGTH_MAX
    )


def below(left: Bound, right: Bound) -> bool:
    """Whether one bound lies below another of the same column; canonical texts of times sort as the times do."""
    return str(left) < str(right) if isinstance(left, str) or isinstance(right, str) else left < right


def breaks(old: Contract, new: Contract, rule: Compatibility) -> tuple[Break, ...]:
    """Return what a change of contract breaks under a rule; nothing means that the new one may follow.

    Backward and forward are inclusions of the sets of accepted tables, so each holds from a contract to itself, and full is both. Nothing
    here looks at data: a break says that a table can exist which one contract accepts and the other refuses.
    """
    found: list[Break] = []
    if rule in {Compatibility.BACKWARD, Compatibility.FULL}:
        found += [_break(Compatibility.BACKWARD, column, why) for column, why in _escapes(old, new)]
    if rule in {Compatibility.FORWARD, Compatibility.FULL}:
        found += [_break(Compatibility.FORWARD, column, why) for column, why in [*_escapes(new, old), *_lost_marks(old, new)]]
    return tuple(found)


def _break(direction: Compatibility, column: str, why: str) -> Break:
    where = f"column '{column}': " if column else ""
    who = "suppliers of data" if direction is Compatibility.BACKWARD else "readers of the data"
    return Break(direction=direction, column=column, sentence=f"breaks {who}: {where}{why}")


def _escapes(given: Contract, judge: Contract) -> Iterator[tuple[str, str]]:
    """Yield (column, why) for each way in which a table that `given` accepts may be refused by `judge`."""
    promised, wanted = given.rules, judge.rules
    for name, want in wanted.items():
        have = promised.get(name)
        if have is not None:
            yield from ((name, why) for why in _column_escapes(have, want))
        elif want.required:
            yield name, "it is required by one contract and unknown to the other"
        elif given.extra_columns:
            yield name, "as an extra column of the one contract it may have any type and values"
    if not judge.extra_columns:
        yield from (
            (name, "it has no place in the other contract, which allows no extra columns") for name in promised if name not in wanted
        )
        if given.extra_columns:
            yield "", "extra columns are allowed by one contract and not by the other"
    for names in sorted(sorted(one) for one in judge.unique_sets):
        never = not given.extra_columns and not promised.keys() >= set(names)
        if not never and not any(known <= set(names) for known in given.unique_sets):
            yield names[0] if len(names) == 1 else "", f"values of {_names(names)} may repeat under one contract and not under the other"
    yield from (("", why) for why in _table_escapes(given, judge))


def _column_escapes(have: ColumnRule, want: ColumnRule) -> Iterator[str]:
    if want.required and not have.required:
        yield "one contract lets it be absent, the other requires it"
    if have.dtype is not want.dtype:
        yield f"{have.dtype} against {want.dtype}"
        return
    if have.missing_share_limit > want.missing_share_limit:
        yield f"a share of {have.missing_share_limit:g} missing values passes one contract, the other allows {want.missing_share_limit:g}"
    if want.categories is not None:
        if have.categories is None:
            yield f"any value passes one contract, the other allows {len(want.categories)} categories"
        elif extra := [value for value in have.categories if value not in set(want.categories)]:
            yield f"the categories {_names(extra)} pass one contract and not the other"
    low, high = _bounds(have)
    if want.min is not None and (low is None or below(low, want.min)):
        yield f"values from {'anywhere' if low is None else low} pass one contract, the other begins at {want.min}"
    if want.max is not None and (high is None or below(want.max, high)):
        yield f"values up to {'anywhere' if high is None else high} pass one contract, the other ends at {want.max}"


def _bounds(rule: ColumnRule) -> tuple[Bound | None, Bound | None]:
    """Return the range of a column, which whole-number categories imply."""
    numbers = [value for value in rule.categories or () if isinstance(value, int)]
    return (min(numbers), max(numbers)) if numbers else (rule.min, rule.max)


def _table_escapes(given: Contract, judge: Contract) -> Iterator[str]:
    fresh, wanted = given.freshness, judge.freshness
    if wanted is not None and (fresh is None or fresh.column != wanted.column or fresh.age_seconds_max > wanted.age_seconds_max):
        yield f"data older than {wanted.age_seconds_max} seconds by '{wanted.column}' passes one contract and not the other"
    for name in ("shrink_share_max", "growth_share_max"):
        have, want = (getattr(one.row_count_change, name, None) for one in (given, judge))
        if want is not None and (have is None or have > want):
            yield f"{name} is {'open' if have is None else f'{have:g}'} in one contract and {want:g} in the other"


def _lost_marks(old: Contract, new: Contract) -> Iterator[tuple[str, str]]:
    """Yield the marks on which readers rely and that the new contract drops."""
    after = new.rules
    for name, rule in old.rules.items():
        if name not in after:
            continue
        if rule.personal is not None and after[name].personal is None:
            yield name, "the mark 'personal' is dropped"
        if rule.protected and not after[name].protected:
            yield name, "the mark 'protected' is dropped"


def _names(values: list[str] | tuple[str, ...] | list[Category]) -> str:
    shown = ", ".join(f"'{value}'" for value in values[:12])
    return shown if len(values) <= 12 else f"{shown} and {len(values) - 12} more"
