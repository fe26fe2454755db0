"""Whether a table keeps a contract: every broken promise with its count and first rows. Pure; needs Polars.

Own expressions and not pandera: see docs/decisions/0008-contracts-checked-by-polars.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING

import polars as pl

from gateline.data.contracts.model import RuleKind, Violation
from gateline.data.model import ColumnType
from gateline.data.reading import POLARS_TYPES
from gateline.kernel.clock import SECOND, Instant, iso, parse_iso

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateline.data.contracts.model import Bound, ColumnRule, Contract

ROWS_SHOWN = 5
_TEXT_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    """A promise about single rows: `broken` is true where a row breaks it. `share` is the part of all rows that may."""

    rule: RuleKind
    columns: tuple[str, ...]
    broken: pl.Expr
    what: str
    share: float = 0.0


def check_table(
    contract: Contract, table: pl.DataFrame, *, now: Instant, rows_before: int | None = None, numbers: Sequence[int] | None = None
) -> tuple[Violation, ...]:
    """Return every promise of the contract that the table breaks, by column and then for the whole table; nothing when it keeps them.

    Args:
        contract: What is promised.
        table: The rows, as `read_table` returns them.
        now: The time of registration in UTC microseconds, for freshness.
        rows_before: Rows of the version before; None when there is none, and then any number passes.
        numbers: What the rows are called; by default 1, 2, 3 and so on.
    """
    numbers = numbers or range(1, table.height + 1)
    found = [*_column_sets(contract, table)]
    present = [rule for rule in contract.columns if rule.name in table.columns]
    sound = [rule for rule in present if table.schema[rule.name] == POLARS_TYPES[rule.dtype]]
    found += [_wrong_type(rule, table) for rule in present if rule not in sound]
    tests = [test for rule in sound for test in _tests(rule)]
    known = {rule.name for rule in sound}
    tests += [_unique_test(key) for key in contract.keys if known >= set(key)]
    found += _run(tests, table, numbers, shown=frozenset(rule.name for rule in present if rule.personal is None))
    if contract.freshness is not None and contract.freshness.column in known:
        found += _freshness(contract.freshness.column, contract.freshness.age_seconds_max, table, now)
    if rows_before is not None:
        found += row_count_violations(contract, table.height, rows_before)
    return tuple(found)


def row_count_violations(contract: Contract, rows: int, rows_before: int) -> list[Violation]:
    """Return the promise about the number of rows when it is broken."""
    change = contract.row_count_change
    if change is None:
        return []
    limits = []
    if change.shrink_share_max is not None and rows < rows_before * (1 - change.shrink_share_max):
        limits.append(f"at most {change.shrink_share_max:.4g} of them may go")
    if change.growth_share_max is not None and rows > rows_before * (1 + change.growth_share_max):
        limits.append(f"at most {change.growth_share_max:.4g} times as many may come")
    sentence = f"the version before has {rows_before:,} rows and this one {rows:,}; {''.join(limits)}"
    return [Violation(rule=RuleKind.ROW_COUNT, count=abs(rows - rows_before), sentence=sentence)] if limits else []


def _column_sets(contract: Contract, table: pl.DataFrame) -> Iterator[Violation]:
    rules = contract.rules
    for name, rule in rules.items():
        if rule.required and name not in table.columns:
            yield Violation(rule=RuleKind.COLUMN_MISSING, columns=(name,), count=1, sentence=f"column '{name}' is missing")
    if not contract.extra_columns:
        for name in table.columns:
            if name not in rules:
                yield Violation(rule=RuleKind.COLUMN_EXTRA, columns=(name,), count=1, sentence=f"column '{name}' is not in the contract")


def _wrong_type(rule: ColumnRule, table: pl.DataFrame) -> Violation:
    kinds = {dtype: kind.value for kind, dtype in POLARS_TYPES.items()}
    found = table.schema[rule.name]
    sentence = f"column '{rule.name}' is {kinds.get(found, str(found))} and not {rule.dtype}"
    return Violation(rule=RuleKind.TYPE, columns=(rule.name,), count=table.height, sentence=sentence)


def _tests(rule: ColumnRule) -> Iterator[_Test]:
    column, name = pl.col(rule.name), (rule.name,)
    if rule.missing_share_limit < 1:
        allowed = f", more than the allowed share of {rule.missing_share_limit:.4g}" if rule.nullable else ""
        yield _Test(
            rule=RuleKind.MISSING_VALUES, columns=name, broken=column.is_null(), what=f"missing{allowed}", share=rule.missing_share_limit
        )
    if rule.min is not None or rule.max is not None:
        outside = [column.is_nan()] if rule.dtype is ColumnType.FLOAT64 else []
        outside += [column < _literal(rule.min, rule.dtype)] if rule.min is not None else []
        outside += [column > _literal(rule.max, rule.dtype)] if rule.max is not None else []
        yield _Test(rule=RuleKind.RANGE, columns=name, broken=pl.any_horizontal(outside), what=_outside(rule))
    if rule.categories is not None:
        allowed_values = pl.Series(rule.categories, dtype=POLARS_TYPES[rule.dtype]).implode()
        what = f"not among the {len(rule.categories)} allowed categories"
        yield _Test(rule=RuleKind.CATEGORIES, columns=name, broken=column.is_not_null() & ~column.is_in(allowed_values), what=what)
    if rule.unique:
        yield _unique_test(name)


def _unique_test(names: tuple[str, ...]) -> _Test:
    value = pl.col(names[0]) if len(names) == 1 else pl.struct(names)
    known = pl.all_horizontal(pl.col(name).is_not_null() for name in names)
    return _Test(rule=RuleKind.UNIQUE, columns=names, broken=known & ~value.is_first_distinct(), what="repeated, but must be unique")


def _outside(rule: ColumnRule) -> str:
    if rule.min is None:
        return f"above {rule.max}"
    return f"below {rule.min}" if rule.max is None else f"outside {rule.min} to {rule.max}"


def _literal(bound: Bound, dtype: ColumnType) -> pl.Expr:
    if not isinstance(bound, str):
        return pl.lit(bound, dtype=POLARS_TYPES[dtype])
    if dtype is ColumnType.DATE:
        return pl.lit(date.fromisoformat(bound))
    return pl.lit(datetime.fromisoformat(bound), dtype=POLARS_TYPES[dtype])


def _run(tests: Sequence[_Test], table: pl.DataFrame, numbers: Sequence[int], shown: frozenset[str]) -> list[Violation]:
    """Count what every test finds in one pass over the table, then look closer at those that failed."""
    if not tests:
        return []
    counts = table.lazy().select(test.broken.sum().alias(str(number)) for number, test in enumerate(tests)).collect().row(0)
    broken = [(test, count) for test, count in zip(tests, counts, strict=True) if count > test.share * table.height]
    return [_violation(test, table, numbers, count, shown) for test, count in broken]


def _violation(test: _Test, table: pl.DataFrame, numbers: Sequence[int], count: int, shown: frozenset[str]) -> Violation:
    rows = table.select(test.broken.arg_true().head(ROWS_SHOWN)).to_series()
    first = tuple(numbers[row] for row in rows)
    where = f"column '{test.columns[0]}'" if len(test.columns) == 1 else f"columns {', '.join(repr(name) for name in test.columns)}"
    examples = ""
    if test.rule is not RuleKind.MISSING_VALUES and shown >= set(test.columns):
        values = table[rows].select(test.columns).rows()
        examples = f" ({'; '.join(', '.join(_shown(value) for value in row) for row in values)}{'; …' if count > len(values) else ''})"
    listed = ", ".join(map(str, first)) + (" …" if count > len(first) else "")
    noun = "value" if len(test.columns) == 1 else "row"
    are = f"{noun} is" if count == 1 else f"{noun}s are"
    sentence = f"{where}: {count:,} {are} {test.what}, first in row{'s' if len(first) > 1 else ''} {listed}{examples}"
    return Violation(rule=test.rule, columns=test.columns, count=count, rows=first, sentence=sentence)


def _shown(value: object) -> str:
    text = iso(_instant(value)) if isinstance(value, datetime) and value.tzinfo is not None else str(value)
    return text if len(text) <= _TEXT_SHOWN else f"{text[:_TEXT_SHOWN]}…"


def _instant(moment: datetime) -> Instant:
    return parse_iso(moment.isoformat())


def _freshness(column: str, age_seconds_max: int, table: pl.DataFrame, now: Instant) -> Iterator[Violation]:
    """Yield the broken promise of freshness; a value in the future proves nothing and is left out."""
    limit = datetime.fromisoformat(iso(now))
    values = table[column].drop_nulls()
    newest = values.filter(values <= (limit if isinstance(table.schema[column], pl.Datetime) else limit.date())).max()
    if newest is None:
        sentence = f"column '{column}': no value lies before now, so that nothing shows how fresh the data is"
        yield Violation(rule=RuleKind.FRESHNESS, columns=(column,), count=table.height, sentence=sentence)
        return
    moment = newest if isinstance(newest, datetime) else datetime.combine(newest, time(), UTC)  # type: ignore[arg-type]
    age = -((_instant(moment) - now) // SECOND)
    if age > age_seconds_max:
        sentence = (
            f"column '{column}': the newest value, {iso(_instant(moment))}, is {age:,} seconds old; at most {age_seconds_max:,} are allowed"
        )
        yield Violation(rule=RuleKind.FRESHNESS, columns=(column,), count=1, sentence=sentence)
