"""Feature set versions: registering, finding, computing and checking them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from gateline.features import rules, store
from gateline.features.declarations.views import LatestView, LookupView, WindowView
from gateline.features.model import FeatureSet, FeatureSetVersion, FeatureSetVersionId, Leak
from gateline.features.records.recording import record_views
from gateline.features.records.views import used
from gateline.kernel.errors import Conflict, NotFound
from gateline.kernel.limits import DEFINITIONS_CACHED
from gateline.kernel.names import split_version_id, version_id
from gateline.lineage import Node

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import polars as pl

    from gateline.data import Datasets, DatasetVersion
    from gateline.ledger import Ledger, Transaction
    from gateline.lineage import Lineage

_ATTEMPTS = 5


class FeatureSets:
    """The feature set versions of an installation. A version is never changed or removed, and neither is the data it pins.

    The last versions that were asked for stay in memory. Which version is the newest is read from the records every time, so what another
    process registers counts at once.
    """

    def __init__(self, ledger: Ledger, lineage: Lineage, datasets: Datasets) -> None:
        self._ledger = ledger
        self._lineage = lineage
        self._datasets = datasets
        self._load = lru_cache(maxsize=DEFINITIONS_CACHED)(self._read)

    def register(self, actor: str, feature_set: FeatureSet, *, dataset_versions: Mapping[str, int] | None = None) -> FeatureSetVersion:
        """Check a set against its datasets and make it a version, or return the version that is the same already.

        Args:
            actor: Name of the principal.
            feature_set: The declaration.
            dataset_versions: Dataset name to the version to pin; the newest where none is given.

        Raises:
            InvalidInput: the declaration has mistakes, or by its declared times it sees the future; all are named.
            NotFound: a dataset version does not exist.
            IntegrityFailure: a table changed under its digest.
        """
        rules.refuse(feature_set.name, rules.set_mistakes(feature_set))
        plan = feature_set.plan
        from gateline.features.engine.checking import check_plan
        from gateline.features.proofs.leaks import refuse_leaks

        wanted = dataset_versions or {}
        if unknown := sorted(wanted.keys() - set(plan.datasets)):
            rules.refuse(feature_set.name, [f"dataset '{name}' is pinned, but the set does not read it" for name in unknown])
        newest = {version.name: version for version in self._datasets.list()}
        pinned = {name: self._datasets.get(name, wanted.get(name)) for name in plan.datasets if name in newest}
        features = check_plan(plan, {name: version.types for name, version in (newest | pinned).items()})
        digests = {name: version.digest for name, version in pinned.items()}
        digest = rules.version_digest(feature_set, digests, features)
        with self._ledger.records.read() as session:
            known = store.by_digest(session, feature_set.name, digest)
        if known is not None:
            self._record_views(actor, known)
            return known
        refuse_leaks(plan, {name: self._datasets.table_paths(version) for name, version in pinned.items()})
        for _ in range(_ATTEMPTS):
            try:
                with self._ledger.transaction(actor) as tx:
                    known = store.by_digest(tx.session, feature_set.name, digest)
                    if known is not None:
                        return known
                    number = store.newest_number(tx.session, feature_set.name) + 1
                    version = FeatureSetVersion(
                        id=FeatureSetVersionId(version_id(feature_set.name, number)), name=feature_set.name, version=number, digest=digest,
                        definition=feature_set, dataset_versions={name: one.id for name, one in pinned.items()}, dataset_digests=digests,
                        features=features, created_at=tx.now, created_by=actor,
                    )  # fmt: skip
                    self._add(tx, version)
                return version
            except IntegrityError:
                continue  # another process took the number; look again
        raise Conflict(f"Feature set '{feature_set.name}' is being registered by others.", next_step="Run the command again.")

    def get(self, name: str, version: int | None = None) -> FeatureSetVersion:
        """Return a version, by default the newest.

        Raises:
            NotFound: there is no such set or version.
        """
        if version is None:
            with self._ledger.records.read() as session:
                version = store.newest_number(session, name)
        return self._load(name, version)

    def _read(self, name: str, version: int) -> FeatureSetVersion:
        with self._ledger.records.read() as session:
            found = store.find(session, name, version)
        if found is None:
            wanted = version_id(name, version) if version else name
            raise NotFound(f"There is no feature set version '{wanted}'.", next_step="See: gateline feature list.")
        return found

    def list(self, name: str | None = None) -> list[FeatureSetVersion]:
        """Return every version of a set, or of all, by name and number."""
        with self._ledger.records.read() as session:
            return store.listed(session, name)

    def tables(self, version: FeatureSetVersion) -> dict[str, tuple[Path, ...]]:
        """Return dataset name to Parquet files for the pinned versions, each hashed again.

        Raises:
            IntegrityFailure: a table changed under its digest.
        """
        return {name: self._datasets.table_paths(self._pinned(pin)) for name, pin in version.dataset_versions.items()}

    def compute(self, version: FeatureSetVersion) -> pl.DataFrame:
        """Compute a version over the data it pins; see `gateline.features.compute`."""
        from gateline.features.engine.point_in_time import compute

        return compute(version.definition.plan, self.tables(version))

    def check(self, version: FeatureSetVersion, *, seed: int = 0, rows: int = 200) -> tuple[Leak, ...]:
        """Search a version for leaks over the data it pins; see `gateline.features.find_leaks`."""
        from gateline.features.proofs.leaks import find_leaks

        return tuple(find_leaks(version.definition.plan, self.tables(version), seed=seed, rows=rows))

    def _pinned(self, pin: str) -> DatasetVersion:
        return self._datasets.get(*split_version_id(pin))

    def _record_views(self, actor: str, version: FeatureSetVersion) -> None:
        """Record the views of a version that was registered before views were recorded."""
        with self._ledger.records.read() as session:
            recorded = {one.name for one in used(session, version.id)}
        if recorded != {view.name for view in version.definition.views if isinstance(view, LatestView | WindowView | LookupView)}:
            with self._ledger.transaction(actor) as tx:
                record_views(tx, version)

    def _add(self, tx: Transaction, version: FeatureSetVersion) -> None:
        store.add(tx.session, version)
        tx.session.flush()
        summary = {
            "digest": version.digest, "definition_digest": version.definition.digest, "dataset_versions": dict(version.dataset_versions),
            "features": [one.name for one in version.features],
        }  # fmt: skip
        tx.record("feature_set.version.registered", version.id, summary)
        tx.publish("feature_set.version.registered", {"id": version.id, "digest": version.digest})
        target = Node(kind="feature_set_version", id=version.id, label=version.id)
        for pin in version.dataset_versions.values():
            self._lineage.link(tx, Node(kind="dataset_version", id=pin, label=pin), target, "read")
        record_views(tx, version)
