"""Computing a feature set on Spark: one program over the files of dataset versions, every spine row exactly once and in order."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from gateline.adapters.spark.almanac import with_calendar
from gateline.adapters.spark.parts import Asked, asked, grouped
from gateline.adapters.spark.session import spark_session
from gateline.adapters.spark.sources import ROW, Rows, Tables
from gateline.adapters.spark.streams import Stream, fraction_totals, whole_totals
from gateline.adapters.spark.translation import Translation
from gateline.adapters.spark.values import INSTANT, Value, as_text, quoted, to_storage, typed
from gateline.adapters.spark.workers import Workers
from gateline.features import FACT_TYPES, CalendarFact
from gateline.kernel.errors import InvalidInput, NotFound, Unavailable
from gateline.stats.exact import grid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pyspark.sql import DataFrame, SparkSession

    from gateline.adapters.spark.workers import Grid
    from gateline.features import EventSource, FeatureSet, Plan

_LABEL, _LABEL_AT = "__label", "__label_available_at"


def compute_on_spark(
    declared: FeatureSet | Plan, files: Mapping[str, Sequence[Path]], *, session: SparkSession | None = None
) -> pl.DataFrame:
    """Compute a set on Spark and return the rows that `gateline.features.compute` returns: same columns, types, order and values.

    Both have one logical digest, but for functions such as EXP in row expressions, whose last bit is the library's.

    Args:
        declared: A valid set, or its plan.
        files: Dataset name to the Parquet files of its version, in the order of the manifest.
        session: A session of `spark_session`; by default one is made.

    Raises:
        ConfigurationError: PySpark or Java is missing.
        InvalidInput: Spark would compute an expression differently, values do not fit their types, or rows repeat a key.
        NotFound: the files of a dataset are missing.
        Unavailable: Spark failed.
    """
    with tempfile.TemporaryDirectory(prefix="gateline-spark-") as folder:
        return pl.read_parquet(write_on_spark(declared, files, Path(folder) / "rows", session=session))


def write_on_spark(
    declared: FeatureSet | Plan, files: Mapping[str, Sequence[Path]], folder: Path, *, session: SparkSession | None = None
) -> list[Path]:
    """Compute a set on Spark into Parquet files of a new folder, and return them in the order of the spine.

    The folder is complete when the file `_SUCCESS` is in it. Raises as `compute_on_spark` does.
    """
    plan = declared.plan
    if missing := sorted(set(plan.datasets) - files.keys()):
        raise NotFound(f"No files are given for the datasets {', '.join(missing)} of set '{plan.name}'.", next_step="Give all files.")
    with _told():
        program = _Program(plan, session or spark_session(), files)
        try:
            program.rows().write.parquet(str(folder.resolve()))
        finally:
            program.close()
    parts = sorted(folder.glob("part-*.parquet"))
    if not parts:
        raise Unavailable(f"Spark wrote no file into {folder}.", next_step="Look at the log of Spark.")
    return parts


@contextmanager
def _told() -> Iterator[None]:
    """Turn what Spark raises into one clear error."""
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        text = str(error)
        _, raised, why = text.partition("[USER_RAISED_EXCEPTION] ")
        if raised:
            raise InvalidInput(
                f"Spark met a value that does not fit: {why.splitlines()[0].split(' SQLSTATE')[0]}.",
                next_step="Leave such rows out with `where`, or use TRY_CAST.",
            ) from error
        first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
        raise Unavailable(f"Spark failed: {first}", next_step="Look at the log of Spark.") from error


class _Program:
    """The Spark program of one plan."""

    def __init__(self, plan: Plan, session: SparkSession, files: Mapping[str, Sequence[Path]]) -> None:
        self._plan = plan
        self._session = session
        self._tables = tables = Tables(session, files)
        self._parts = asked(plan)
        self._sources = {part.source.name: self._usable(part.source) for part in self._parts}
        own = plan.label is not None and plan.label.source == plan.spine
        spine = tables.source(plan.spine, self._label_columns() if own else None, numbered=True)
        self._spine = Rows(frame=spine.frame.persist(), types=spine.types)  # read by the checks and by every stream
        self._labels = None if own or plan.label is None else tables.source(plan.label.source, self._label_columns())

    def close(self) -> None:
        """Let go of what is kept between the passes over the spine."""
        self._spine.frame.unpersist()

    def rows(self) -> DataFrame:
        """Return the rows of the set in the order of the spine; raises InvalidInput for data that the set cannot be computed of."""
        self._check()
        joined, workers = self._spine.frame, Workers(self._session)
        grids = {name: self._grids(name, rows) for name, rows in self._sources.items()}
        for parts in grouped(self._parts).values():
            source = parts[0].source.name
            stream = Stream(self._spine, self._plan.time, self._sources[source], parts, grids[source], workers)
            joined = joined.join(stream.features(), ROW, "left")
        for part in self._parts:
            if part.kind == "lookup":
                joined = self._with_lookup(joined, part)
        for calendar in self._plan.calendars:
            joined = with_calendar(self._session, joined, self._spine.frame, calendar)
        if self._labels is not None:
            wanted = self._labels.frame.select(*self._plan.entities, _LABEL, _LABEL_AT).dropna(subset=list(self._plan.entities))
            joined = joined.join(wanted, list(self._plan.entities), "left")
        return joined.orderBy(ROW).selectExpr(*self._output())

    def _label_columns(self) -> dict[str, str]:
        label = self._plan.label
        return {} if label is None else {_LABEL: label.sql, _LABEL_AT: label.available_at}

    def _usable(self, source: EventSource) -> Rows:
        """Return the rows that can be used: with event time and availability, and each event once, however often it was delivered."""
        rows = self._tables.source(source)
        frame = rows.frame.dropna(subset=[source.event_time, source.available_at])
        return Rows(frame=frame.distinct() if source.event_id else frame, types=rows.types)

    def _with_lookup(self, frame: DataFrame, part: Asked) -> DataFrame:
        source = self._sources[part.source.name].frame.dropna(subset=list(part.keys))
        outputs = [f"{quoted(alias)} AS {quoted(f'__out_{name}')}" for name, alias in part.outputs.items()]
        table = source.selectExpr(*map(quoted, part.keys), f"{quoted(part.source.available_at)} AS __known", *outputs)
        known = f"__known <= {quoted(self._plan.time)}"
        found = [f"CASE WHEN {known} THEN {quoted(f'__out_{name}')} END AS {quoted(name)}" for name in part.outputs]
        kept = [quoted(name) for name in frame.columns]
        return frame.join(table, list(part.keys), "left").selectExpr(*kept, *found)

    # What the values are.

    def _types(self) -> dict[str, pl.DataType]:
        """Return the types of spine columns and features from sources."""
        found = dict(self._spine.types)
        if self._labels is not None:
            found |= {name: self._labels.types[name] for name in (_LABEL, _LABEL_AT)}
        for part in self._parts:
            types = self._sources[part.source.name].types
            found |= {name: _aggregate_type(part.aggregate, types[alias]) for name, alias in part.outputs.items()}
        for calendar in self._plan.calendars:
            found |= {name: FACT_TYPES[CalendarFact(fact)] for name, fact in calendar.outputs.items()}
        return found

    def _output(self) -> list[str]:
        """Return the columns of the result as `features.compute` orders them."""
        plan, types = self._plan, self._types()
        translate = Translation(types)
        demanded = {one.name: typed(translate(one.sql)) for one in plan.on_demand}
        values = {name: Value(sql=quoted(name), dtype=dtype) for name, dtype in types.items()} | demanded
        wanted = {"row_id": Value(sql=self._row_id(), dtype=pl.String()), "t": values[plan.time]}
        wanted |= {name: values[name] for name in (*plan.entities, *plan.features)}
        if plan.label is not None:
            label = values[_LABEL]
            whole = Value(sql=f"CAST({label.sql} AS BIGINT)", dtype=pl.Int64()) if label.dtype == pl.Boolean() else label
            known = Value(sql=f"CASE WHEN {label.sql} IS NOT NULL THEN {quoted(_LABEL_AT)} END", dtype=INSTANT)
            wanted |= {"label": whole, "label_available_at": known}
        if plan.unit:
            wanted["unit"] = Value(sql=as_text(values[plan.unit]), dtype=pl.String())
        for name in plan.slices:
            wanted.setdefault(name, values[name])
        return [f"{to_storage(value.sql, value.dtype)} AS {quoted(name)}" for name, value in wanted.items()]

    def _row_id(self) -> str:
        """Return the row id: the entity's values as text, joined by `|`; instants as 2013-01-01T10:15:00.000000Z."""
        texts = []
        for alias in self._plan.entities:
            value = Value(sql=quoted(alias), dtype=self._spine.types[alias])
            instant = f"date_format(timestamp_micros({value.sql}), \"yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'\")"
            texts.append(instant if value.dtype == INSTANT else as_text(value))
        return f"concat_ws('|', {', '.join(texts)})"

    # What must be true of the data.

    def _check(self) -> None:
        self._check_spine()
        if self._labels is not None and self._plan.label is not None:
            self._check_unique(self._labels.frame, self._plan.entities, f"the label's source '{self._plan.label.source.name}'")
        for part in self._parts:
            if part.kind == "lookup":
                self._check_unique(self._sources[part.source.name].frame, part.keys, f"the lookup table '{part.source.name}'")
        for part in {part.source.name: part for part in self._parts}.values():
            self._check_events(part.source)
        for name, rows in self._sources.items():
            self._check_totals(name, rows)

    def _check_spine(self) -> None:
        plan = self._plan
        needed = list(dict.fromkeys((plan.time, *plan.entities, *((plan.unit,) if plan.unit else ()))))
        lacking = [f"count_if({quoted(alias)} IS NULL) AS {quoted(f'__{alias}')}" for alias in needed]
        (counts,) = self._spine.frame.selectExpr(*lacking).collect()
        if mistakes := [f"{counts[f'__{alias}']:,} rows have no '{alias}'" for alias in needed if counts[f"__{alias}"]]:
            raise InvalidInput(
                f"The spine '{plan.spine.name}' of set '{plan.name}' is incomplete: {'; '.join(mistakes)}.",
                next_step="Leave such rows out with `where`, or correct the expressions.",
            )
        self._check_unique(self._spine.frame.selectExpr(f"{self._row_id()} AS row_id"), ("row_id",), f"the spine '{plan.spine.name}'")

    def _check_unique(self, frame: DataFrame, key: tuple[str, ...], what: str) -> None:
        if found := self._repeated(frame, key):
            raise InvalidInput(
                f"In {what}, {found[0]:,} rows repeat a key that must be unique ({', '.join(key)}), for example {found[1]}.",
                next_step="Add columns to the key, or leave rows out with `where`.",
            )

    def _repeated(self, frame: DataFrame, key: tuple[str, ...]) -> tuple[int, dict[str, object]] | None:
        """Return how many rows repeat a key, and one of them."""
        counted = frame.dropna(subset=list(key)).groupBy(*key).count().where("count > 1")
        values = ", ".join(quoted(name) for name in key)
        (found,) = counted.selectExpr("sum(count - 1) AS repeated", f"min(struct({values})) AS example").collect()
        return (found["repeated"], found["example"].asDict()) if found["repeated"] else None

    def _check_events(self, source: EventSource) -> None:
        """Refuse rows without an event id, and different rows under one."""
        if not source.event_id:
            return
        frame, key = self._sources[source.name].frame, ", ".join(source.event_id)
        lacking = " OR ".join(f"{quoted(alias)} IS NULL" for alias in source.event_id)
        if missing := frame.where(lacking).count():
            raise InvalidInput(
                f"In source '{source.name}', {missing:,} rows have no event id ({key}).",
                next_step="Leave such rows out with `where`, or name other columns as event_id.",
            )
        if found := self._repeated(frame, source.event_id):
            raise InvalidInput(
                f"In source '{source.name}', different rows have the same event id ({key}): {found[0]:,}, for example {found[1]}.",
                next_step="An event never changes: name columns that tell the rows apart, or leave one of them out with `where`.",
            )

    def _check_totals(self, source: str, rows: Rows) -> None:
        """Refuse whole numbers whose running total could leave 64 bits, where it would wrap silently."""
        totals = whole_totals([part for part in self._parts if part.kind == "window" and part.source.name == source], rows.types)
        aliases = sorted({alias for _, alias in totals})
        if not aliases:
            return
        wanted = [f"greatest(abs(min({quoted(alias)}) + 0BD), abs(max({quoted(alias)}) + 0BD)) AS {quoted(alias)}" for alias in aliases]
        (found,) = rows.frame.selectExpr("count(*) AS __rows", *wanted).collect()
        for feature, alias in totals:
            if int(found[alias] or 0) * found["__rows"] >= 1 << 63:
                raise InvalidInput(
                    f"The sum of '{alias}' in window '{feature}' could exceed 64 bits (values up to {int(found[alias]):,}).",
                    next_step="Declare the column as CAST(… AS DOUBLE).",
                )

    def _grids(self, source: str, rows: Rows) -> dict[str, Grid]:
        """Return the digits that the totals of each alias need; see `gateline.stats.exact`."""
        aliases = fraction_totals([part for part in self._parts if part.kind == "window" and part.source.name == source], rows.types)
        sizes = [f"abs(CAST({quoted(alias)} AS DOUBLE))" for alias in aliases]
        wanted = [f"struct(min(nullif({size}, 0D)), max({size})) AS {quoted(alias)}" for alias, size in zip(aliases, sizes, strict=True)]
        if not wanted:
            return {}
        (found,) = rows.frame.selectExpr(*wanted).collect()
        return {
            alias: grid(*found[alias], whole=rows.types[alias] == pl.Int64()) if found[alias][0] is not None else (0, 1)
            for alias in aliases
        }


def _aggregate_type(aggregate: str, dtype: pl.DataType) -> pl.DataType:
    if aggregate in {"count", "approx_distinct"}:
        return pl.Int64()
    return pl.Float64() if aggregate in {"mean", "var", "std", "ratio"} else dtype
