"""Recomputing features for logged requests: the spine's rows of their entities, at the time of each request, over given tables."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from gateline.features import EventSource, Plan, compute
from gateline.kernel.clock import SECOND
from gateline.kernel.errors import InvalidInput
from gateline.kernel.files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROW = "__parity_row"
_ID = "__parity_id"
_AT = "__parity_at"
_SOURCE = "parity_requests"
_INSTANT = pl.Datetime("us", "UTC")


class Offline:
    """The offline side of one feature set over fixed tables.

    Args:
        plan: What the set compiles to.
        tables: Dataset name to Parquet files.

    Raises:
        InvalidInput: the set cannot be computed over these tables; the message says why.
    """

    def __init__(self, plan: Plan, tables: Mapping[str, Sequence[Path]]) -> None:
        self._plan = plan
        self._tables = dict(tables)
        self._spine = self._read_spine()

    def known(self, entities: pl.Series) -> pl.Series:
        """Return for each entity whether the spine has a row of it."""
        return entities.is_in(self._spine[_ID].implode())

    def at(self, requests: pl.DataFrame, *, seconds_before: Sequence[int] = (0,)) -> dict[int, pl.DataFrame]:
        """Return the features of requests as of their own time, or that much before it.

        Args:
            requests: `entity` (each known) and `event_time` (UTC microseconds).
            seconds_before: Shifts in seconds; all are computed in one pass.

        Returns:
            Shift to the features, a row for each request, in order.
        """
        wanted = requests.select(pl.col("entity").alias(_ID), pl.col("event_time").alias(_AT))
        rows = wanted.join(self._spine, on=_ID, how="left", maintain_order="left")
        shifted = [rows.with_columns((pl.col(_AT) - seconds * SECOND).cast(_INSTANT).alias(self._plan.time)) for seconds in seconds_before]
        asked = pl.concat(shifted).drop(_ID, _AT).with_row_index(_ROW).with_columns(pl.col(_ROW).cast(pl.Int64))
        features = self._compute(asked)
        return {seconds: features.slice(place * rows.height, rows.height) for place, seconds in enumerate(seconds_before)}

    def _read_spine(self) -> pl.DataFrame:
        """Return the row id and every spine alias, one row per entity."""
        names = {alias: f"alias_{place}" for place, alias in enumerate(self._plan.spine.columns)}
        spine = replace(
            self._plan.spine,
            columns={names[alias]: sql for alias, sql in self._plan.spine.columns.items()},
            event_time=names[self._plan.spine.event_time],
            available_at=names[self._plan.spine.available_at],
            tie_breaker=(),
            event_id=(),
        )
        entity = tuple(names[alias] for alias in self._plan.entities)
        rows = Plan(name=self._plan.name, spine=spine, entity=entity, time=names[self._plan.time], columns=tuple(names.values()))
        with _understood(self._plan.name):
            found = compute(rows, {spine.dataset: self._tables[spine.dataset]})
        return found.select(pl.col("row_id").alias(_ID), *(pl.col(name).alias(alias) for alias, name in names.items()))

    def _compute(self, asked: pl.DataFrame) -> pl.DataFrame:
        """Return the features of spine rows that may repeat an entity: each is an entity of its own here."""
        aliases = {alias: f'"{alias}"' for alias in (*self._plan.spine.columns, _ROW)}
        spine = EventSource(
            name=_SOURCE, dataset=_SOURCE, columns=aliases, event_time=self._plan.time, available_at=self._plan.time
        )  # fmt: skip
        plan = replace(self._plan, spine=spine, entity=(_ROW,), label=None, unit="", slices=(), known_at=())
        with tempfile.TemporaryDirectory(prefix="gateline-parity-") as name:
            path = Path(name) / "requests.parquet"
            with storage_errors(path):
                asked.write_parquet(path)
            with _understood(self._plan.name):
                found = compute(plan, {**self._tables, _SOURCE: [path]})
        return found.sort(_ROW).select(self._plan.features)


@contextmanager
def _understood(name: str) -> Iterator[None]:
    """Say of a table that no longer fits which feature set cannot be computed, and what to do."""
    try:
        yield
    except (pl.exceptions.PolarsError, InvalidInput) as error:
        raise InvalidInput(
            f"Feature set '{name}' cannot be computed over the newest dataset versions: {str(error).strip().splitlines()[0].rstrip('.')}.",
            next_step="Register the set again over them, or put the changed columns right.",
        ) from error
