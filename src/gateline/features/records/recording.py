"""Recording the views of a feature set in the transaction that registers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.features.declarations.views import entity_of, view_fingerprint
from gateline.features.records import views as store
from gateline.features.records.model import FeatureViewVersion
from gateline.kernel.names import version_id

if TYPE_CHECKING:
    from gateline.features.declarations.views import SourcedView
    from gateline.features.model import FeatureSetVersion
    from gateline.ledger import Transaction


def record_views(tx: Transaction, version: FeatureSetVersion) -> None:
    """Record the views of a feature set version in the transaction that registers it; known definitions keep their number."""
    for view in version.definition.sourced_views:
        _describe(tx, view)
        fingerprint = view_fingerprint(view)
        known = store.by_fingerprint(tx.session, view.name, fingerprint)
        if known is None:
            known = _added(tx, view, fingerprint, version.id)
        if tx.session.get(store.FeatureViewUseRow, (known.id, version.id)) is None:
            tx.session.add(store.FeatureViewUseRow(view=known.id, feature_set=version.id))
            tx.session.flush()


def _describe(tx: Transaction, view: SourcedView) -> None:
    """Take over what the newest declaration says of a view; a declaration that says nothing leaves it as it is."""
    row = tx.session.get(store.FeatureViewRow, view.name)
    if row is None:
        row = store.FeatureViewRow(name=view.name, owner="", description="", tags=[])
        tx.session.add(row)
    said: dict[str, Any] = {"owner": view.owner, "description": view.description, "tags": list(view.tags)}
    changed = {name: value for name, value in said.items() if value and getattr(row, name) != value}
    for name, value in changed.items():
        setattr(row, name, value)
    tx.session.flush()
    if changed:
        tx.record("feature_view.described", view.name, changed)


def _added(tx: Transaction, view: SourcedView, fingerprint: str, feature_set: str) -> FeatureViewVersion:
    number = store.newest_number(tx.session, view.name) + 1
    added = FeatureViewVersion(
        id=version_id(view.name, number), name=view.name, version=number, fingerprint=fingerprint, feature_set=feature_set,
        source=view.source.name, dataset=view.source.dataset, entity=entity_of(view.entity).keys,
        features=tuple(name for part in view.parts for name in part.outputs), created_at=tx.now, created_by=tx.actor, online_since=None,
        removed_at=None,
    )  # fmt: skip
    tx.session.add(store.FeatureViewVersionRow(**added.as_dict()))
    tx.session.flush()
    tx.record("feature_view.version.registered", added.id, {"fingerprint": fingerprint, "feature_set": feature_set})
    return added
