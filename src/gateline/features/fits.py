"""Fits: the transforms of a feature set version, learned from rows of named data, on record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from sqlalchemy.exc import IntegrityError

from gateline.features.engine.checking import check_plan
from gateline.features.engine.fitted import fit
from gateline.features.engine.point_in_time import compute
from gateline.features.proofs.leaks import refuse_leaks
from gateline.features.records import fits as store
from gateline.features.records.model import FeatureFit
from gateline.features.records.seals import check_entry, fit_digest, inputs_digest, ledger_entry, split_fit_id
from gateline.kernel.canonical import canonical_bytes
from gateline.kernel.clock import iso
from gateline.kernel.errors import Conflict, IntegrityFailure, InvalidInput, NotFound, TooLarge
from gateline.kernel.limits import FIT_BYTES_MAX
from gateline.kernel.names import split_version_id
from gateline.lineage import Node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.data import Datasets, DatasetVersion
    from gateline.features.engine.fitted import FittedTransforms
    from gateline.features.model import FeatureSetVersion
    from gateline.features.service import FeatureSets
    from gateline.kernel.clock import Instant
    from gateline.ledger import Ledger, Transaction
    from gateline.lineage import Lineage

_ATTEMPTS = 5
FITTED = "feature_set.fitted"


class FeatureFits:
    """The fits of an installation. A fit is never changed or removed.

    Callers may rely on: the same feature set version, dataset versions and window give the same fit, however often and by however many
    it is asked for; a fit whose record was changed is refused, never applied.
    """

    def __init__(self, ledger: Ledger, lineage: Lineage, feature_sets: FeatureSets, datasets: Datasets) -> None:
        self._ledger = ledger
        self._lineage = lineage
        self._feature_sets = feature_sets
        self._datasets = datasets

    def fit(
        self,
        actor: str,
        name: str,
        version: int | None = None,
        *,
        start: Instant | None = None,
        end: Instant | None = None,
        dataset_versions: Mapping[str, int] | None = None,
    ) -> FeatureFit:
        """Learn the parameters of a set's transforms from its rows with `start <= t < end`, or return the fit that did so already.

        Args:
            actor: Name of the principal.
            name: Name of the feature set.
            version: Its number; the newest by default.
            start: In UTC microseconds; None for no limit.
            end: In UTC microseconds; None for no limit.
            dataset_versions: Dataset name to the version to read; the one that the set pins where none is given.

        Raises:
            NotFound: there is no such feature set or dataset version.
            InvalidInput: the set declares no transforms, the window has no rows, a dataset does not fit the set, or a transform finds
                nothing to learn.
            TooLarge: what was learned is larger than a record may be.
            IntegrityFailure: a table changed under its digest, or the record of this fit did.
        """
        feature_set = self._feature_sets.get(name, version)
        pinned = self._data(feature_set, dataset_versions or {})
        _check_request(feature_set, start, end)
        digests = {dataset: one.digest for dataset, one in pinned.items()}
        inputs = inputs_digest(feature_set.digest, digests, start, end)
        with self._ledger.records.read() as session:
            known = store.by_inputs(session, inputs)
        if known is not None:
            return known
        fitted = self._learn(feature_set, pinned, start, end)
        for _ in range(_ATTEMPTS):
            try:
                with self._ledger.transaction(actor) as tx:
                    known = store.by_inputs(tx.session, inputs)
                    return known or self._add(tx, feature_set, pinned, (start, end), fitted, inputs)
            except IntegrityError:
                continue  # another process took the number, or made the same fit; look again
        raise Conflict(f"{feature_set.id} is being fitted by others.", next_step="Run the command again.")

    def get(self, identity: str) -> FeatureFit:
        """Return a fit by its id, such as `flight_delay@1/fit@2`, held against the digest it was stored with.

        Raises:
            InvalidInput: this is no id of a fit.
            NotFound: there is no such fit.
            IntegrityFailure: its record was changed.
        """
        name, version, number = split_fit_id(identity)
        return self._found(self._feature_sets.get(name, version), number)

    def latest(self, name: str, version: int | None = None) -> FeatureFit:
        """Return the newest fit of a feature set version, by default of the newest; raises as `get` does."""
        return self._found(self._feature_sets.get(name, version), None)

    def list(self, name: str, version: int | None = None) -> list[FeatureFit]:
        """Return the fits of a feature set version, by default of the newest, oldest first; raises as `get` does."""
        feature_set = self._feature_sets.get(name, version)
        with self._ledger.records.read() as session:
            return store.listed(session, feature_set.id)

    def verify(self, identity: str) -> FeatureFit:
        """Return a fit that agrees with its own digest and with the ledger; raises as `get` does."""
        found = self.get(identity)
        entries = self._ledger.entries(subject=found.id, kind=FITTED, limit=1)
        if not entries:
            raise IntegrityFailure(f"The ledger knows nothing of fit {found.id}.", next_step="Run: gateline ledger verify.")
        check_entry(found, entries[0].payload)
        return found

    def _found(self, feature_set: FeatureSetVersion, number: int | None) -> FeatureFit:
        with self._ledger.records.read() as session:
            found = store.find(session, feature_set.id, number)
        if found is None:
            wanted = f"no fit of {feature_set.id}" if number is None else f"no fit '{feature_set.id}/fit@{number}'"
            raise NotFound(f"There is {wanted}.", next_step=f"Make one: gateline feature fit {feature_set.id}.")
        return found

    def _data(self, feature_set: FeatureSetVersion, wanted: Mapping[str, int]) -> dict[str, DatasetVersion]:
        """Return the dataset versions to read; those that the set does not pin must still fit it, and let it see no future."""
        if unknown := sorted(wanted.keys() - set(feature_set.dataset_versions)):
            raise InvalidInput(
                f"{feature_set.id} does not read {', '.join(unknown)}.",
                next_step=f"It reads: {', '.join(sorted(feature_set.dataset_versions))}.",
            )
        pins = {name: split_version_id(pin) for name, pin in feature_set.dataset_versions.items()}
        pinned = {name: self._datasets.get(name, wanted.get(name, number)) for name, (_, number) in pins.items()}
        if {name: one.id for name, one in pinned.items()} != dict(feature_set.dataset_versions):
            plan = feature_set.definition.plan
            if check_plan(plan, {name: one.types for name, one in pinned.items()}) != feature_set.features:
                raise InvalidInput(
                    f"Over {', '.join(one.id for one in pinned.values())} the features of {feature_set.id} would have other types.",
                    next_step="Register the set over these dataset versions, and fit that.",
                )
            refuse_leaks(plan, {name: self._datasets.table_paths(one) for name, one in pinned.items()})
        return pinned

    def _learn(
        self, feature_set: FeatureSetVersion, pinned: Mapping[str, DatasetVersion], start: Instant | None, end: Instant | None
    ) -> FittedTransforms:
        """Compute the set as training does, and fit its transforms to the rows of the window."""
        rows = compute(feature_set.definition.plan, {name: self._datasets.table_paths(one) for name, one in pinned.items()})
        t = pl.col("t").dt.timestamp("us")
        within = rows.filter((t >= start if start is not None else pl.lit(True)) & (t < end if end is not None else pl.lit(True)))
        if within.is_empty():
            first, last = rows.select(t.min().alias("first"), t.max().alias("last")).row(0)
            spine = f"its rows lie from {iso(first)} to {iso(last)}" if first is not None else "its spine has no rows at all"
            raise InvalidInput(
                f"There are no rows of {feature_set.id} in the window to learn from: {spine}.", next_step="Choose another --start or --end."
            )
        fitted = fit(feature_set.definition.fitted, within)
        size = len(canonical_bytes(fitted.as_dict()))
        if size > FIT_BYTES_MAX:
            raise TooLarge(
                f"The parameters of {feature_set.id} take {size:,} bytes; at most {FIT_BYTES_MAX:,} may be kept.",
                next_step="Encode shorter or fewer categories.",
            )
        return fitted

    def _add(
        self,
        tx: Transaction,
        feature_set: FeatureSetVersion,
        pinned: Mapping[str, DatasetVersion],
        window: tuple[Instant | None, Instant | None],
        fitted: FittedTransforms,
        inputs: str,
    ) -> FeatureFit:
        number = store.newest_number(tx.session, feature_set.id) + 1
        found = FeatureFit(
            id=f"{feature_set.id}/fit@{number}", feature_set=feature_set.id, feature_set_digest=feature_set.digest, number=number,
            dataset_versions={name: one.id for name, one in pinned.items()},
            dataset_digests={name: one.digest for name, one in pinned.items()}, start=window[0], end=window[1], fitted=fitted,
            digest=fit_digest(inputs, fitted), created_at=tx.now, created_by=tx.actor,
        )  # fmt: skip
        store.add(tx.session, found, inputs)
        tx.record(FITTED, found.id, ledger_entry(found))
        tx.publish(FITTED, {"id": found.id, "digest": found.digest})
        node = Node(kind="feature_fit", id=found.id, label=found.id)
        self._lineage.link(tx, Node(kind="feature_set_version", id=feature_set.id, label=feature_set.id), node, "fitted")
        for one in pinned.values():
            self._lineage.link(tx, Node(kind="dataset_version", id=one.id, label=one.id), node, "read")
        return found


def _check_request(feature_set: FeatureSetVersion, start: Instant | None, end: Instant | None) -> None:
    if not feature_set.definition.fitted:
        raise InvalidInput(
            f"{feature_set.id} declares no transforms to fit.", next_step="Give the feature set `fitted=…` and register it again."
        )
    if start is not None and end is not None and start >= end:
        raise InvalidInput(f"The window begins at {iso(start)}, which is not before its end, {iso(end)}.", next_step="Swap them.")
