"""From stored raw rows to the table of a version, the first time and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateline.data import rules
from gateline.data.model import Column, Provenance, ReadOptions, Source, StoredFile

if TYPE_CHECKING:
    import polars as pl

    from gateline.data.model import DatasetVersion
    from gateline.data.objects import ObjectStore
    from gateline.kernel.clock import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """All that a version is made from: the raw rows, how they are read, and what is said of them."""

    name: str
    raw: StoredFile
    made_of: Source
    options: ReadOptions
    provenance: Provenance
    as_of: Instant

    @property
    def request(self) -> str:
        """The digest under which the same request is found again."""
        return rules.request_digest(self.name, self.raw.sha256, self.made_of, self.options, self.provenance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The table that was made of it."""

    frame: pl.DataFrame
    schema: tuple[Column, ...]
    logical_digest: str


def build(objects: ObjectStore, given: Given) -> Made:
    """Return the table of stored raw rows; equal rows and options give equal tables.

    Raises:
        NotFound: the raw rows are not stored.
        IntegrityFailure: they changed under their digest.
        InvalidInput: they cannot be read as declared.
    """
    from gateline.data.reading import read_table

    raw = given.raw.sha256
    return _made(read_table(objects.verified_path(raw), given.options, name=f"The file of dataset '{given.name}' ({raw[:12]}…)"))


def build_from_rows(rows: pl.DataFrame, version: DatasetVersion) -> Made:
    """Return the table that rows of a source give when they are read as those of the version were; raises InvalidInput."""
    from gateline.data.reading import typed_table

    return _made(typed_table(rows, version.options, name=f"The source of {version.id}"))


def _made(frame: pl.DataFrame) -> Made:
    from gateline.data.logical import logical_digest
    from gateline.data.reading import columns_of

    schema = columns_of(frame)
    return Made(frame=frame, schema=schema, logical_digest=logical_digest(frame, schema))


def build_again(objects: ObjectStore, version: DatasetVersion, raw: StoredFile | None = None) -> Made:
    """Return the table of a version, made again from its raw rows, or from another stored file, read as they were then.

    Raises as `build` does.
    """
    return build(
        objects,
        Given(
            name=version.name, raw=raw or version.raw, made_of=version.made_of, options=version.options, provenance=version.provenance,
            as_of=version.as_of,
        ),
    )  # fmt: skip


def differences(version: DatasetVersion, made: Made, logical_digest: str) -> tuple[str, ...]:
    """Return how a table made again differs from the version: schema, number of rows, then the rows themselves.

    Args:
        version: The version as it was registered.
        made: The table made again.
        logical_digest: The digest of the rows that were registered.
    """
    found = []
    if made.schema != version.schema:
        then, now = ({one.name: (one.dtype, one.nullable) for one in schema} for schema in (version.schema, made.schema))
        changed = [name for name in (*then, *(now.keys() - then.keys())) if then.get(name) != now.get(name)]
        found.append(f"the columns {', '.join(changed)} differ" if changed else "the order of the columns differs")
    if made.frame.height != version.row_count:
        found.append(f"{made.frame.height:,} rows instead of {version.row_count:,}")
    if made.logical_digest != logical_digest:
        found.append(f"logical digest {made.logical_digest} instead of {logical_digest}")
    return tuple(found)


def moved_rows(then: pl.DataFrame, now: pl.DataFrame) -> tuple[int, int]:
    """Return how many rows only the second table has, and how many only the first; equal rows count as often as they occur."""
    import polars as pl

    counts = [pl.DataFrame({"row": frame.hash_rows(seed=0)}).group_by("row").len() for frame in (then, now)]
    both = counts[0].join(counts[1], on="row", how="full", coalesce=True).fill_null(0)
    moved = both.select(pl.col("len_right").cast(pl.Int64) - pl.col("len").cast(pl.Int64)).to_series()
    return int(moved.filter(moved > 0).sum()), -int(moved.filter(moved < 0).sum())
