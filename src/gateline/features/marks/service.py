"""The marks of registered features: personal and protected, as the contracts in force say; and declarations that lift the first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from gateline.features.marks import store
from gateline.features.marks.model import FeatureMarks, Removal, mark_features
from gateline.kernel.errors import Conflict, InvalidInput, NotFound
from gateline.kernel.limits import TEXT_LENGTH_MAX

if TYPE_CHECKING:
    from gateline.data import Contracts
    from gateline.features.service import FeatureSets
    from gateline.ledger import Ledger


class Marks:
    """What the features of an installation derive from.

    Callers may rely on: a feature that derives from a personal column counts as personal until somebody declares the opposite with a
    reason; such a declaration holds for this way of making the feature from these personal columns, and for nothing else.
    """

    def __init__(self, ledger: Ledger, feature_sets: FeatureSets, contracts: Contracts) -> None:
        self._ledger = ledger
        self._feature_sets = feature_sets
        self._contracts = contracts

    def of(self, name: str, version: int | None = None) -> tuple[FeatureMarks, ...]:
        """Return the marks of every feature of a version, by default the newest, under the contracts now in force; raises NotFound."""
        feature_set = self._feature_sets.get(name, version).definition
        in_force = {dataset: self._contracts.in_force(dataset) for dataset in feature_set.datasets}
        found = mark_features(feature_set, {dataset: one.contract for dataset, one in in_force.items() if one is not None})
        with self._ledger.records.read() as session:
            removals = store.removals(session, name)
        return tuple(replace(one, removal=removals.get((one.feature, one.derivation))) for one in found)

    def declare_not_personal(self, actor: str, name: str, version: int | None, feature: str, reason: str) -> FeatureMarks:
        """Declare that a feature made of personal columns is no personal data, with the reason; said again, it changes nothing.

        Raises:
            NotFound: there is no such version or feature.
            InvalidInput: the reason is missing.
            Conflict: the feature derives from no personal column.
        """
        if not reason.strip() or len(reason) > TEXT_LENGTH_MAX:
            raise InvalidInput("The declaration needs a reason.", next_step=f"Say why, in at most {TEXT_LENGTH_MAX:,} characters.")
        found = next((one for one in self.of(name, version) if one.feature == feature), None)
        if found is None:
            raise NotFound(f"Feature set '{name}' has no feature '{feature[:100]}'.", next_step=f"See: gateline feature show {name}.")
        if not found.personal:
            raise Conflict(f"Feature '{feature}' derives from no personal column.", next_step="There is nothing to declare.")
        if found.removal is not None:
            return found
        columns = [f"{one.dataset}.{one.column}" for one in found.personal]
        try:
            with self._ledger.transaction(actor) as tx:
                tx.session.add(
                    store.RemovalRow(
                        feature_set=name,
                        feature=feature,
                        derivation=found.derivation,
                        columns=columns,
                        reason=reason,
                        declared_at=tx.now,
                        declared_by=actor,
                    )
                )
                tx.session.flush()
                payload = {"columns": columns, "derivation": found.derivation, "reason": reason}
                tx.record("feature.declared_not_personal", f"{name}/{feature}", payload)
                return replace(found, removal=Removal(reason=reason, declared_by=actor, declared_at=tx.now))
        except IntegrityError:  # somebody else declared it meanwhile
            return next(one for one in self.of(name, version) if one.feature == feature)
