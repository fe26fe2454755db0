"""Events on their way into both sides: first into the dataset of their source, then into the online store.

The dataset comes first because it is the side that the other can be rebuilt from. A process that dies in between leaves events that the
next backfill, or the sender's repetition, brings online; nobody has been told yet that they are in. The other way round, a model would be
served values that no offline computation could ever repeat. All that can be refused is refused before anything is written; several datasets
of one source take their rows in one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateline.access import Permission
from gateline.data import Batch, Feed
from gateline.features.engine.expressions import with_expressions
from gateline.features.online.rows import plain_rows
from gateline.kernel.canonical import digest
from gateline.kernel.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl

    from gateline.access import Access, Principal
    from gateline.data import Spool
    from gateline.features.declarations.plan import EventSource
    from gateline.features.online_service import OnlineFeatures

    Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventIntake:
    """Takes events into the datasets of their source and into the online store, each event once on either side.

    Callers may rely on: an event that was acknowledged is online, and in the next version that is cut of a dataset that is fed with rows;
    an event that was refused is on neither side; an event of which nothing was heard can be sent again until it is acknowledged.
    """

    online: OnlineFeatures
    spool: Spool
    access: Access

    def push(self, principal: Principal, source: str, rows: Sequence[Values], *, spool: bool | None = None) -> dict[str, Any]:
        """Take in events of a source; when it returns, they are durable on both sides.

        Args:
            principal: Who sends them. Who adds to a dataset needs `dataset:write`.
            source: Name of the event source.
            rows: Rows of the source's dataset, column to value.
            spool: Whether they are added to the dataset: true insists on it, false leaves it to somebody else, None adds them where the
                dataset is fed with rows.

        Returns:
            What `OnlineFeatures.push` returns, and under `datasets`, for each dataset of the source, whether it is `spooled` to, how many
            rows were `appended`, and how many were `repeated`: in the dataset already.

        Raises:
            NotFound: no online view reads the source.
            Denied: rows would be added to a dataset, and the principal may not.
            InvalidInput: rows do not fit, or differ though their event ids are equal.
            ContractBroken: rows break what the dataset's contract promises of single rows.
            Conflict: the dataset is made of files and `spool` is true, or it holds another row with the event id of one of these, or the
                online store holds values of another type.
            TooLarge: there are too many rows.
            StorageFull: there is no room. Rows may be in every dataset, and not yet online: send them again when there is, which completes
                it and counts nothing twice.
            Unavailable: likewise, the online store does not answer.
        """
        checked = self.online.checked(source, rows)
        wanted = checked.sources if spool is not False else ()
        fed = {one.dataset: one for one in wanted if self._is_fed(one, insisting=spool is True)}
        if fed:
            self.access.require_at_door(principal, Permission.DATASET_WRITE)
        feeds = [self._feed(one, rows) for one in fed.values()] if rows else []
        if feeds:
            self.online.try_in(checked)
        counts = {one.dataset: {"spooled": one.dataset in fed, "appended": 0, "repeated": 0} for one in checked.sources}
        for feed, repeated in zip(feeds, self._append(principal.name, fed, feeds), strict=True):
            counts[feed.name] |= {"appended": len(feed.batches) - repeated, "repeated": len(rows) - len(feed.batches) + repeated}
        return self.online.take_in(checked) | {"datasets": counts}

    def _is_fed(self, source: EventSource, *, insisting: bool) -> bool:
        fed = self.spool.is_open(source.dataset)
        if insisting and not fed:
            raise Conflict(
                f"Dataset '{source.dataset}' of source '{source.name}' is made of files, and takes no single rows.",
                next_step="Send them without `spool`, for the online store alone, or feed a dataset with rows: gateline dataset spool.",
            )
        return fed

    def _feed(self, source: EventSource, rows: Sequence[Values]) -> Feed:
        """Return each event once, in the order of the rows: typed, and under a key made of its event id.

        Raises:
            InvalidInput: rows do not fit the dataset, or two of them differ though their event ids are equal.
        """
        frame = self.spool.typed(source.dataset, rows)
        found: dict[str, Batch] = {}
        places = []
        for place, (key, said) in enumerate(_named(source, frame)):
            if key not in found:
                found[key] = Batch(key=key, digest=said, rows=[rows[place]], first=place + 1)
                places.append(place)
            elif found[key].digest != said:
                raise InvalidInput(
                    f"Row {place + 1} has the event id of an earlier row ({_shown(source, frame, place)}), and differs from it.",
                    next_step="An event never changes: send one of them, or give the other an event id of its own.",
                )
        return Feed(name=source.dataset, frame=frame[places], batches=[*found.values()])

    def _append(self, actor: str, fed: Mapping[str, EventSource], feeds: Sequence[Feed]) -> list[int]:
        """Add the rows to their datasets, to all or to none; return for each how many were there already."""
        try:
            return [sum(one["repeated"] for one in taken) for taken in self.spool.append_each(actor, feeds)] if feeds else []
        except Conflict as refused:
            others = set(refused.facts.get("keys", ()))
            feed = next((feed for feed in feeds if feed.name == refused.facts.get("dataset")), None)
            if feed is None or not others:
                raise
            first = next(place for place, batch in enumerate(feed.batches) if batch.key in others)
            raise Conflict(
                f"Dataset '{feed.name}' holds another row with an event id that was sent ({_shown(fed[feed.name], feed.frame, first)}); "
                f"{len(others):,} of {len(feed.batches):,} events are like that, and none was taken.",
                next_step="An event never changes: give what is new an event id of its own.",
                facts={"events": len(others)},
            ) from refused


def _ids(source: EventSource, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the event id of each row of the dataset."""
    wanted = {f"__event_id_{place}": source.columns[alias] for place, alias in enumerate(source.event_id)}
    return plain_rows(with_expressions(frame, wanted).select(*wanted))


def _named(source: EventSource, frame: pl.DataFrame) -> Iterator[tuple[str, str]]:
    """Yield for each row what names its event in the dataset, and a digest of its values, which is equal however they are written.

    The name is equal for equal event ids, whichever source of the dataset they are sent to. A row without id, which no view of the source
    uses, is named by all its values.
    """
    form = [source.columns[alias] for alias in source.event_id]
    for one, row in zip(_ids(source, frame).rows(), plain_rows(frame).rows(), strict=True):
        said = digest("dataset.event.row", list(row))
        yield f"event-{said if None in one else digest('dataset.event', [form, list(one)])}", said


def _shown(source: EventSource, frame: pl.DataFrame, place: int) -> str:
    values = _ids(source, frame).row(place)
    return ", ".join(f"{alias}={value!r}" for alias, value in zip(source.event_id, values, strict=True))
