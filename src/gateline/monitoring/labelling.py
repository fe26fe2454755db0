"""Taking labels in, and giving predictions back with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from gateline.kernel.canonical import digest
from gateline.monitoring import store
from gateline.monitoring.joining import LABEL_SCHEMA, join_labels, label_keys
from gateline.monitoring.labels import Changes, decide_changes, read_labels
from gateline.monitoring.model import LabelReceipt, LabelRow

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.orm import Session

    from gateline.ledger import Ledger, Transaction
    from gateline.serving import Serving

_EXAMPLES = 5


class KnownCases:
    """Which requests and predictions of an endpoint have been seen: 64-bit hashes, extended by each new segment of the log.

    It only tells which labels still wait for their prediction; joins compare whole ids.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._lock = Lock()
        self._seen: dict[str, tuple[int, NDArray[np.uint64]]] = {}

    def missing(self, endpoint: str, keys: Sequence[str]) -> list[str]:
        """Return the keys whose prediction has not been seen yet, in the given order."""
        if not keys:
            return []
        known = self._refresh(endpoint)
        wanted = pl.Series(keys, dtype=pl.String).hash().to_numpy()
        place = np.searchsorted(known, wanted)
        found = known[np.minimum(place, max(0, len(known) - 1))] == wanted if len(known) else np.zeros(len(wanted), dtype=bool)
        return [key for key, seen in zip(keys, found.tolist(), strict=True) if not seen]

    def _refresh(self, endpoint: str) -> NDArray[np.uint64]:
        with self._lock:
            last, known = self._seen.get(endpoint, (0, np.empty(0, dtype=np.uint64)))
            newest = self._serving.last_segment(endpoint)
            if newest > last:
                fresh = self._serving.predictions(
                    endpoint, after_segment=last, until_segment=newest, columns=["request_id", "prediction_id"]
                )
                keys = pl.concat(["r:" + fresh["request_id"].unique(), "p:" + fresh["prediction_id"].unique()])
                known = np.union1d(known, keys.hash().to_numpy())
                self._seen[endpoint] = newest, known
            return known


class Labelling:
    """Labels of all endpoints: recorded in batches, joined to predictions when asked for."""

    def __init__(self, ledger: Ledger, serving: Serving) -> None:
        self._ledger = ledger
        self._serving = serving
        self._known = KnownCases(serving)

    def record(self, actor: str, endpoint: str, rows: Sequence[Mapping[str, Any]]) -> LabelReceipt:
        """Take a batch of labels in; see `Monitoring.record_labels`."""
        batch = read_labels(rows, self._ledger.clock.now())
        with self._ledger.transaction(actor) as tx:
            stream = store.lock_stream(tx.session, endpoint)
            known = {
                key: LabelRow(key=key, label=label, event_time=event_time)
                for key, label, event_time in store.read_labels(tx.session, endpoint, list(dict.fromkeys(row.key for row in batch)))
            }
            changes = decide_changes(batch, known)
            number = self._write(tx, stream, batch, changes, known) if changes.current else None
        missing = self._known.missing(endpoint, list(changes.current))
        return LabelReceipt(
            batch=number, rows=len(batch), recorded=changes.recorded, corrected=changes.corrected, unchanged=changes.unchanged,
            stale=changes.stale, contradictory=changes.contradictory, pending=len(missing),
            pending_examples=tuple(key[2:] for key in missing[:_EXAMPLES]),
        )  # fmt: skip

    @staticmethod
    def _write(
        tx: Transaction, stream: store.LabelStreamRow, batch: Sequence[LabelRow], changes: Changes, known: Mapping[str, LabelRow]
    ) -> int:
        """Write what changes, the batch, and its one ledger entry."""
        endpoint, number = stream.endpoint, stream.batch + 1
        newest = max(row.event_time for row in changes.current.values())
        stream.batch, stream.labels = number, stream.labels + changes.recorded
        stream.watermark = newest if stream.watermark is None else max(stream.watermark, newest)
        store.apply_changes(tx.session, endpoint, changes, number, known)
        counts = {"rows": len(batch), "recorded": changes.recorded, "corrected": changes.corrected}
        content = digest("label-batch", [[row.key, row.label, row.event_time] for row in batch])
        tx.session.add(
            store.LabelBatchRow(
                endpoint=endpoint, batch=number, digest=content, received_at=tx.now, received_by=tx.actor, **counts
            )
        )  # fmt: skip
        skipped = {"unchanged": changes.unchanged, "stale": changes.stale, "contradictory": changes.contradictory}
        tx.record("label.batch.recorded", f"{endpoint}/labels@{number}", {**counts, **skipped, "digest": content})
        return number

    def join(self, session: Session, endpoint: str, predictions: pl.DataFrame, *, known_before: int | None = None) -> pl.DataFrame:
        """Return predictions with the labels on record.

        Args:
            session: The records.
            endpoint: Whose labels.
            predictions: As `Serving.predictions` gives them.
            known_before: Leave out labels that became known at or after this instant.
        """
        labels = pl.DataFrame(store.labels_for(session, endpoint, predictions), schema=LABEL_SCHEMA, orient="row")
        if known_before is not None:
            labels = labels.filter(pl.col("label_event_time") < known_before)
        return join_labels(predictions, labels)

    def labelled(self, endpoint: str, start: int | None, end: int | None) -> pl.DataFrame:
        """Return predictions of a time range with their labels; see `Monitoring.labelled`."""
        predictions = self._serving.predictions(endpoint, start=start, end=end)
        with self._ledger.records.read() as session:
            return self.join(session, endpoint, predictions)

    def pending(self, endpoint: str) -> int:
        """Return how many labels on record wait for a prediction that has not been seen."""
        with self._ledger.records.read() as session:
            keys = store.all_label_keys(session, endpoint)
        return len(self._known.missing(endpoint, keys))

    def of_other_windows(self, endpoint: str, keys: Sequence[str], window: pl.DataFrame) -> int:
        """Return how many of these labels belong to predictions that were seen, but not in this window."""
        here = set(label_keys(window)) if keys else set()
        elsewhere = [key for key in keys if key not in here]
        return len(elsewhere) - len(self._known.missing(endpoint, elsewhere))

    def history(self, endpoint: str, key: str) -> list[dict[str, Any]]:
        """Return the labels that were replaced for `r:<request id>` or `p:<prediction id>`, oldest first."""
        with self._ledger.records.read() as session:
            return [asdict(row) for row in store.corrections(session, endpoint, key)]
