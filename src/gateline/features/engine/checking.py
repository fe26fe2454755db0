"""Typing every expression of a set against the schemas of its datasets, before any row is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from polars.exceptions import PolarsError

from gateline.data import POLARS_TYPES, ColumnType
from gateline.features import rules
from gateline.features.declarations.calendars import CalendarFact
from gateline.features.declarations.plan import Aggregate, Window
from gateline.features.engine.expressions import FEATURE_TYPES, INSTANT, roots, typed
from gateline.features.engine.windows import window_type
from gateline.features.model import FeatureColumn, FeatureKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.features.declarations.plan import EventSource, Part, Plan

FACT_TYPES: Mapping[CalendarFact, pl.DataType] = {
    **dict.fromkeys(CalendarFact, pl.Int64()),
    **dict.fromkeys((CalendarFact.IS_WEEKEND, CalendarFact.IS_HOLIDAY), pl.Boolean()),
    CalendarFact.DAY_PART: pl.String(),
}
_WANTED = {
    **dict.fromkeys(Aggregate, "numbers"),
    **dict.fromkeys((Aggregate.FIRST, Aggregate.LAST, Aggregate.LAST_K, Aggregate.APPROX_DISTINCT), "numbers, booleans or texts"),
    Aggregate.COUNT: "",
}
Schema = dict[str, pl.DataType]


def _type_of(sql: str, schema: Mapping[str, pl.DataType]) -> tuple[pl.DataType, pl.DataType]:
    """Return the type as Polars infers it, and ours; raises PolarsError when the expression is wrong."""
    empty = pl.DataFrame(schema=dict(schema)).lazy()
    inferred = empty.with_columns(pl.sql_expr(sql).alias("__value")).collect_schema()["__value"]
    ours = pl.LazyFrame(schema={"x": inferred}).select(typed(pl.col("x"), inferred)).collect_schema()["x"]
    return inferred, ours


class _Check:
    """Types every expression of a set against the datasets' schemas and gathers all mistakes."""

    def __init__(self, plan: Plan, schemas: Mapping[str, Mapping[str, ColumnType]]) -> None:
        self.plan = plan
        self.schemas = {name: {column: POLARS_TYPES[ColumnType(kind)] for column, kind in types.items()} for name, types in schemas.items()}
        self.mistakes: list[str] = []
        self.features: dict[str, pl.DataType] = {}
        self.aliases: dict[str, Schema] = {}

    def run(self) -> tuple[FeatureColumn, ...]:
        for source in self.plan.sources:
            self.aliases[source.name] = self._source(source)
        for part in self.plan.parts:
            self._part(part)
        self._spine()
        self._label_and_facts()
        rules.refuse(self.plan.name, list(dict.fromkeys(self.mistakes)))
        return tuple(self._column(name) for name in self.plan.features)

    def _column(self, name: str) -> FeatureColumn:
        dtype = self.features[name]
        categorical = name in self.plan.categorical or dtype == pl.String
        kind = FeatureKind.CATEGORICAL if categorical else FeatureKind.NUMERIC
        return FeatureColumn(name=name, dtype=FEATURE_TYPES[dtype], kind=kind)

    def _type(self, where: str, sql: str, schema: Schema, what: str) -> pl.DataType | None:
        """Return the type of an expression, or note why it has none."""
        try:
            unknown = sorted(roots(sql) - schema.keys())
            if unknown:
                self.mistakes += [f"{where}: column '{name}' is not in {what}{rules.suggestion(name, schema)}" for name in unknown]
                return None
            return _type_of(sql, schema)[1]
        except PolarsError as error:
            self.mistakes.append(f"{where}: {sql!r} is not valid: {str(error).strip().splitlines()[0]}")
            return None

    def _source(self, source: EventSource) -> Schema:
        schema = self.schemas.get(source.dataset)
        if schema is None:
            self.mistakes.append(
                f"source '{source.name}': there is no dataset '{source.dataset}'{rules.suggestion(source.dataset, self.schemas)}"
            )
            return {}
        found: Schema = {}
        for alias, sql in source.columns.items():
            dtype = self._type(f"source '{source.name}', column '{alias}'", sql, schema, f"dataset '{source.dataset}'")
            if dtype is not None:
                found[alias] = dtype
        for field, alias in (("event_time", source.event_time), ("available_at", source.available_at)):
            self._instant(f"source '{source.name}', {field} '{alias}'", found.get(alias))
        if source.where is not None:
            self._boolean(f"source '{source.name}', where", source.where, schema, f"dataset '{source.dataset}'")
        return found

    def _instant(self, where: str, dtype: pl.DataType | None) -> None:
        if dtype == pl.Datetime("us"):
            self.mistakes.append(f"{where} is a time stamp without a zone; add one, for example CAST(… AS TIMESTAMPTZ) if it is UTC")
        elif dtype is not None and dtype != INSTANT:
            self.mistakes.append(f"{where} is {dtype}, not a UTC time stamp")

    def _boolean(self, where: str, sql: str, schema: Schema, what: str) -> None:
        dtype = self._type(where, sql, schema, what)
        if dtype is not None and dtype != pl.Boolean():
            self.mistakes.append(f"{where} is {dtype}, not true or false")

    def _part(self, part: Part) -> None:
        spine, own = self.aliases[self.plan.spine.name], self.aliases[part.source.name]
        for alias in part.keys:
            if alias in spine and alias in own and spine[alias] != own[alias]:
                self.mistakes.append(
                    f"part '{part.name}': key '{alias}' is {spine[alias]} in the spine, but {own[alias]} in '{part.source.name}'"
                )
        for name, alias in part.outputs.items():
            dtype = own.get(alias)
            if dtype is None:
                continue
            if isinstance(part, Window):
                dtype = self._window(part, dtype)
            self._feature(name, dtype)

    def _window(self, part: Window, dtype: pl.DataType) -> pl.DataType:
        numbers = {pl.Int64(), pl.Float64()}
        values = {*numbers, pl.Boolean(), pl.String()}
        wanted, what = _WANTED.get(Aggregate(part.aggregate), ""), ""
        own = self.aliases[part.source.name]
        for alias in filter(None, (part.column, part.denominator)):
            found = own.get(alias)
            if found is not None and found not in (numbers if wanted == "numbers" else values if wanted else {found}):
                what = f"'{alias}' needs {wanted}, not {found}"
                self.mistakes.append(f"part '{part.name}': {part.aggregate} of {what}")
        return window_type(part, dtype) if not what else pl.Float64()

    def _feature(self, name: str, dtype: pl.DataType) -> None:
        if dtype not in FEATURE_TYPES:
            self.mistakes.append(f"feature '{name}' is {dtype}; a feature is a number, a boolean or a text")
        self.features[name] = dtype

    def _spine(self) -> None:
        spine = self.aliases[self.plan.spine.name]
        self._instant(f"time '{self.plan.time}'", spine.get(self.plan.time))
        for part in self.plan.calendars:
            self._instant(f"calendar '{part.name}', time '{part.time}'", spine.get(part.time))
            self.features |= {name: FACT_TYPES[CalendarFact(fact)] for name, fact in part.outputs.items()}
        for name in self.plan.columns:
            if name in spine:
                self._feature(name, spine[name])
        computed = (*self.plan.parts, *self.plan.calendars)
        known = {
            **spine,
            **{name: dtype for part in computed for name in part.outputs if (dtype := self.features.get(name)) is not None},
        }
        for one in self.plan.on_demand:
            if self._reads_untyped(one.sql, known):
                continue  # what it reads is reported already
            dtype = self._type(f"on-demand feature '{one.name}'", one.sql, known, "the spine or the features of parts")
            if dtype is not None:
                self._feature(one.name, dtype)

    def _reads_untyped(self, sql: str, known: Schema) -> bool:
        """Whether the expression reads something that is declared, but has mistakes itself."""
        declared = {*self.plan.spine.columns, *(name for part in self.plan.parts for name in part.outputs)}
        try:
            return bool(roots(sql) & (declared - known.keys()))
        except PolarsError:
            return False

    def _label_and_facts(self) -> None:
        label = self.plan.label
        if label is not None and (schema := self.schemas.get(label.source.dataset)) is not None:
            what = f"dataset '{label.source.dataset}'"
            dtype = self._type("label", label.sql, schema, what)
            if dtype is not None and dtype not in {pl.Boolean(), pl.Int64(), pl.Float64()}:
                self.mistakes.append(f"label is {dtype}, not a number or a boolean")
            self._instant("label, available_at", self._type("label, available_at", label.available_at, schema, what))
        for fact in self.plan.known_at:
            where, schema = f"known_at of dataset '{fact.dataset}'", self.schemas.get(fact.dataset)
            if schema is None:
                self.mistakes.append(f"{where}: there is no such dataset in the set{rules.suggestion(fact.dataset, self.schemas)}")
                continue
            for column in fact.columns:
                if column not in schema:
                    self.mistakes.append(f"{where}: column '{column}' is not in it{rules.suggestion(column, schema)}")
            self._instant(where, self._type(where, fact.sql, schema, f"dataset '{fact.dataset}'"))


def check_plan(plan: Plan, schemas: Mapping[str, Mapping[str, ColumnType]]) -> tuple[FeatureColumn, ...]:
    """Return the features with their types, in order.

    Args:
        plan: The declaration.
        schemas: For each dataset, column name to type.

    Raises:
        InvalidInput: the declaration has mistakes; all of them are named.
    """
    rules.refuse(plan.name, rules.plan_mistakes(plan))
    return _Check(plan, schemas).run()
