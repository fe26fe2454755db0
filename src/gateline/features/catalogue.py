"""The catalogue of views: versions by fingerprint, promotion by pointer, search, consumers, statistics and deprecation."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gateline.features.online.views import OnlineView
from gateline.features.records import views as store
from gateline.features.records.model import FeatureViewCard, FeatureViewVersion
from gateline.kernel.clock import SECOND
from gateline.kernel.errors import Conflict, InvalidInput, NotFound
from gateline.kernel.limits import DEFINITIONS_CACHED
from gateline.kernel.names import split_version_id
from gateline.lineage import Node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateline.features.declarations.views import SourcedView
    from gateline.features.model import FeatureSet, FeatureSetVersion
    from gateline.features.online.store import OnlineStore
    from gateline.features.service import FeatureSets
    from gateline.ledger import Ledger
    from gateline.lineage import Lineage


class FeatureViews:
    """The views of an installation, their versions and where their values are kept.

    Definitions never change, and the last that were asked for stay in memory. What does change (which version is promoted, whether it is
    kept online, whether its view is deprecated) is read from the records every time, so what another process changes counts at once.

    Args:
        ledger: Where changes are recorded.
        feature_sets: Where definitions are read from.
        lineage: Where consumers are found.
        online: The online store.
    """

    def __init__(self, ledger: Ledger, feature_sets: FeatureSets, lineage: Lineage, online: OnlineStore) -> None:
        self._ledger = ledger
        self._feature_sets = feature_sets
        self._lineage = lineage
        self._online = online
        self._load = lru_cache(maxsize=DEFINITIONS_CACHED)(self._define)

    def search(self, text: str = "") -> list[FeatureViewCard]:
        """Return views whose name, owner, description, tags or features hold every word of the text, by name; all of no text."""
        words = text.lower().split()
        with self._ledger.records.read() as session:
            return [card for card in store.cards(session) if all(word in _words(card) for word in words)]

    def card(self, name: str) -> FeatureViewCard:
        """Return what the catalogue says of a view; raises NotFound."""
        found = self._cards([name]).get(name)
        if found is None:
            raise _unknown(name)
        return found

    def get(self, wanted: str) -> FeatureViewVersion:
        """Return a version by its id, or the promoted one of a name; before the first promotion, the newest.

        Raises:
            NotFound: there is no such view or version.
        """
        return self.chosen([wanted])[0][0]

    def chosen(self, wanted: Sequence[str]) -> tuple[list[FeatureViewVersion], list[str]]:
        """Return versions as `get` does, and a sentence for each deprecated view among them, all as it is at one moment."""
        parsed = [split_version_id(one) if "@" in one else (one, None) for one in wanted]
        cards = self._cards([name for name, _ in parsed])
        found = []
        for name, number in parsed:
            if name not in cards:
                raise _unknown(name)
            found.append(_numbered(cards[name], number))
        return found, [cards[name].warning for name in dict.fromkeys(name for name, _ in parsed) if cards[name].deprecated]

    def definition(self, version: FeatureViewVersion) -> OnlineView:
        """Return the view of a version, as the online store keeps it."""
        return self._load(version.feature_set, version.name)

    def of_set(self, feature_set: FeatureSetVersion) -> tuple[list[FeatureViewVersion], list[str]]:
        """Return the versions of its views that a set declares, in their order, and a sentence for each deprecated view among them.

        Raises:
            NotFound: the set was registered before views were recorded; registering it again records them.
        """
        names = [view.name for view in feature_set.definition.sourced_views]
        cards, found = self._cards(names), []
        for name in names:
            fingerprint = self._load(feature_set.id, name).fingerprint
            versions = cards[name].versions if name in cards else ()
            version = next((one for one in versions if one.fingerprint == fingerprint), None)
            if version is None:
                raise NotFound(f"View '{name}' of {feature_set.id} is not recorded.", next_step="Register the set again.")
            found.append(version)
        return found, [cards[name].warning for name in sorted(names) if cards[name].deprecated]

    def reading(self, source: str) -> list[FeatureViewVersion]:
        """Return the versions that read a source and are kept online."""
        with self._ledger.records.read() as session:
            return store.versions(session, source=source, online=True)

    def online(self) -> list[FeatureViewVersion]:
        """Return the versions that are kept online."""
        with self._ledger.records.read() as session:
            return store.versions(session, online=True)

    def promote(self, actor: str, wanted: str) -> FeatureViewVersion:
        """Make a version the one that its name means.

        Raises:
            NotFound: there is no such version.
            Conflict: its values are not kept online.
        """
        version = self.get(wanted)
        if not version.online:
            raise Conflict(
                f"The values of {version.id} are not kept online.", next_step=f"First: gateline feature materialise {version.id}."
            )
        with self._ledger.transaction(actor) as tx:
            row = tx.session.get_one(store.FeatureViewRow, version.name)
            if row.promoted != version.version:
                before, row.promoted = row.promoted, version.version
                tx.record("feature_view.promoted", version.id, {"before": before})
        return version

    def deprecate(self, actor: str, name: str, *, reason: str, successor: str = "") -> FeatureViewCard:
        """Say that a view should no longer be used, and what to use instead; its values stay. An empty reason takes it back.

        Raises:
            NotFound: the view or its successor does not exist.
            InvalidInput: a view cannot succeed itself.
        """
        self.card(name)
        if successor:
            self.card(successor)
        if successor == name:
            raise InvalidInput(f"Feature view '{name}' cannot be its own successor.")
        with self._ledger.transaction(actor) as tx:
            row = tx.session.get_one(store.FeatureViewRow, name)
            row.deprecated, row.successor = reason.strip().rstrip("."), successor if reason.strip() else ""
            tx.record("feature_view.deprecated", name, {"reason": row.deprecated, "successor": row.successor})
        return self.card(name)

    def put_online(self, actor: str, version: FeatureViewVersion) -> None:
        """Begin to keep the values of a version online: from now on it takes in events of its source."""
        with self._ledger.transaction(actor) as tx:
            row = tx.session.get_one(store.FeatureViewVersionRow, version.id)
            if row.online_since is None or row.removed_at is not None:
                row.online_since, row.removed_at = tx.now, None
                tx.record("feature_view.online", version.id, {"fingerprint": version.fingerprint})

    def remove(self, actor: str, wanted: str) -> FeatureViewVersion:
        """Remove the values of a version from the online store; its definition stays, and it can be materialised again.

        Raises:
            NotFound: there is no such version.
            Conflict: it is the promoted one.
        """
        version = self.get(wanted)
        if "@" not in wanted or self.card(version.name).promoted == version.version:
            raise Conflict(
                f"{version.id} is what '{version.name}' means to those who read it.",
                next_step=f"Promote another version, then name this one: gateline feature remove {version.id}.",
            )
        with self._ledger.transaction(actor) as tx:
            row = tx.session.get_one(store.FeatureViewVersionRow, version.id)
            row.removed_at = tx.now
            store.forget_backfills(tx.session, version.id)
            tx.record("feature_view.removed", version.id, {"fingerprint": version.fingerprint})
        # Last: whoever is killed here leaves values that nobody reads, and the next removal or materialisation deals with them.
        self._online.drop(version.fingerprint)
        return self.get(version.id)

    def consumers(self, name: str) -> dict[str, list[str]]:
        """Return the feature set versions that use a view, and the model versions made from them."""
        card = self.card(name)
        with self._ledger.records.read() as session:
            sets = store.users(session, [one.id for one in card.versions])
        models: set[str] = set()
        for one in sets:
            graph = self._lineage.descendants(Node(kind="feature_set_version", id=one))
            models |= {node.id for node in graph.nodes if node.kind == "model_version"}
        return {"feature_sets": sets, "model_versions": sorted(models)}

    def warnings(self, feature_set: str) -> list[str]:
        """Return a sentence for each deprecated view that a feature set version uses."""
        with self._ledger.records.read() as session:
            names = sorted({one.name for one in store.used(session, feature_set)})
            return [card.warning for card in store.cards(session, names) if card.deprecated]

    def statistics(self, version: FeatureViewVersion) -> dict[str, Any]:
        """Return how much of a version is kept online, and how fresh it is. Reads every entry: seconds for a million entities."""
        from gateline.features.online.views import OnlineViews

        mark = self._online.mark(version.fingerprint)
        extent = self._online.extent(version.fingerprint)
        now = self._ledger.clock.now()
        missing = OnlineViews(self._online).missing_shares(self.definition(version), now) if version.online else {}
        with self._ledger.records.read() as session:
            rows = sum(one.rows for one in store.backfilled(session, version.id))
        return {
            "id": version.id, "online": version.online, "keys": extent.keys, "size_bytes": extent.size_bytes, "rows_backfilled": rows,
            "watermark": mark.watermark, "lag_seconds": None if mark.watermark is None else (now - mark.watermark) / SECOND,
            "missing_share": missing,
        }  # fmt: skip

    def _cards(self, names: Sequence[str]) -> dict[str, FeatureViewCard]:
        with self._ledger.records.read() as session:
            return {card.name: card for card in store.cards(session, names)}

    def _define(self, feature_set: str, name: str) -> OnlineView:
        return OnlineView(view=_named(self._feature_sets.get(*split_version_id(feature_set)).definition, name))


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no feature view '{name}'.", next_step="See: gateline feature views.")


def _numbered(card: FeatureViewCard, number: int | None) -> FeatureViewVersion:
    """Return a version of a view: the one with the number, else the promoted one, else the newest."""
    meant = number or card.promoted or card.versions[-1].version
    found = next((one for one in card.versions if one.version == meant), None)
    if found is None:
        raise NotFound(
            f"There is no feature view version '{card.name}@{meant}'; '{card.name}' has {', '.join(one.id for one in card.versions)}.",
            next_step=f"See: gateline feature views {card.name}.",
        )
    return found


def _named(declared: FeatureSet, name: str) -> SourcedView:
    for view in declared.sourced_views:
        if view.name == name:
            return view
    raise NotFound(f"Feature set '{declared.name}' has no view '{name}'.")


def _words(card: FeatureViewCard) -> str:
    features = [name for version in card.versions for name in version.features]
    return " ".join([card.name, card.owner, card.description, *card.tags, *features]).lower()
