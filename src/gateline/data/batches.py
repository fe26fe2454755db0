"""Batches at the door of a dataset that is fed with rows: checked, numbered without gaps, and counted once by their keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from gateline.data import store
from gateline.data.contracts.gate import require_rows
from gateline.data.model import ColumnType
from gateline.data.rows import typed_rows
from gateline.data.store import DatasetBatchRow, DatasetSpoolRow
from gateline.kernel.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl
    from sqlalchemy.orm import Session

    from gateline.kernel.clock import Instant
    from gateline.ledger import Ledger

_KEYS_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows under a key.

    Attributes:
        key: Names the batch within its dataset.
        digest: Equal for equal rows.
        rows: Column to value, as they were sent.
        first: The number of its first row among all that were sent, from 1; errors name rows by it.
    """

    key: str
    digest: str
    rows: Sequence[Mapping[str, Any]]
    first: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Batches for one dataset.

    Attributes:
        name: Name of the dataset.
        frame: The rows of all batches, typed.
        batches: Batches with keys of their own.
    """

    name: str
    frame: pl.DataFrame
    batches: Sequence[Batch]


def columns_of(spool: DatasetSpoolRow | None, name: str) -> dict[str, ColumnType]:
    """Return the columns of a dataset that is fed with rows; raises NotFound when it is not."""
    return {column: ColumnType(kind) for column, kind in opened(spool, name).columns}


def opened(spool: DatasetSpoolRow | None, name: str) -> DatasetSpoolRow:
    """Return how far the rows of a dataset have come; raises NotFound when it is not fed with rows."""
    if spool is None:
        raise NotFound(f"Dataset '{name}' is not fed with rows.", next_step="Open it with: gateline dataset spool.")
    return spool


def typed_batch(ledger: Ledger, name: str, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return rows with the columns of the dataset.

    Raises:
        NotFound: the dataset is not fed with rows.
        InvalidInput: rows do not fit the columns.
    """
    with ledger.records.read() as session:
        columns = columns_of(store.spool(session, name), name)
    return typed_rows(columns, rows)


def take(ledger: Ledger, actor: str, feeds: Sequence[Feed]) -> list[list[dict[str, Any]]]:
    """Take batches of any number of datasets in one transaction, each once however often its key is sent: all of them or none.

    When this returns, they are durable.

    Args:
        ledger: Where the records are.
        actor: Name of the principal.
        feeds: The batches of each dataset; no dataset comes twice.

    Returns:
        For each feed and batch `position` (from 1, in the order of acknowledgement), `rows`, and `repeated`.

    Raises:
        ContractBroken: rows that are new break what the contract in force promises of single rows.
        Conflict: keys were used for other rows; dataset and keys are in `facts`.
        StorageFull: the disk is full; nothing was taken.
    """
    for feed in feeds:
        _check_new_rows(ledger, feed)
    with ledger.records.write() as session:
        for name in sorted(feed.name for feed in feeds):  # in one order, so that no two writers wait for each other
            store.lock(session, name)
        return [_taken(session, feed, actor, ledger.clock.now()) for feed in feeds]


def _check_new_rows(ledger: Ledger, feed: Feed) -> None:
    """Hold new rows against the contract; what is there already was held against the one that was in force when it came."""
    with ledger.records.read() as session:
        known = store.batches(session, feed.name, [batch.key for batch in feed.batches])
    new: list[int] = []
    numbers: list[int] = []
    start = 0
    for batch in feed.batches:
        if batch.key not in known:
            new += range(start, start + len(batch.rows))
            numbers += range(batch.first, batch.first + len(batch.rows))
        start += len(batch.rows)
    if new:
        require_rows(ledger, feed.name, feed.frame[new], numbers)


def _taken(session: Session, feed: Feed, actor: str, now: Instant) -> list[dict[str, Any]]:
    """Add the batches of one dataset that are new; return what became of each."""
    known = store.batches(session, feed.name, [batch.key for batch in feed.batches])
    _refuse_others(feed.name, feed.batches, known)
    spool = opened(store.spool(session, feed.name), feed.name)
    fresh = [batch for batch in feed.batches if batch.key not in known]
    places = {batch.key: spool.received + number for number, batch in enumerate(fresh, 1)}
    spool.received += len(fresh)
    if fresh:
        session.execute(insert(DatasetBatchRow), [
            {
                "name": feed.name, "key": batch.key, "position": places[batch.key], "rows": len(batch.rows), "digest": batch.digest,
                "content": [dict(row) for row in batch.rows], "received_at": now, "received_by": actor,
            }
            for batch in fresh
        ])  # fmt: skip
    return [
        {"position": places.get(batch.key) or known[batch.key].position, "rows": len(batch.rows), "repeated": batch.key in known}
        for batch in feed.batches
    ]


def _refuse_others(name: str, batches: Sequence[Batch], known: Mapping[str, store.KnownBatch]) -> None:
    others = [batch.key for batch in batches if batch.key in known and known[batch.key].digest != batch.digest]
    if others:
        shown = ", ".join(f"'{key}'" for key in others[:_KEYS_SHOWN])
        raise Conflict(
            f"The key {shown} of dataset '{name}' names other rows." if len(others) == 1 else
            f"{len(others):,} keys of dataset '{name}' name other rows, for example {shown}.",
            next_step="Use a fresh key for fresh rows.", facts={"dataset": name, "keys": others},
        )  # fmt: skip
