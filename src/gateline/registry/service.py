"""The registry: versions with their lineage, approvals, and the placements that only a rollout writes."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from gateline.access import Permission
from gateline.kernel.errors import Conflict, Denied, InvalidInput, NotFound
from gateline.kernel.limits import NAME_LENGTH_MAX, PAGE_ROWS_MAX, TEXT_LENGTH_MAX
from gateline.kernel.names import valid_name
from gateline.registry import lifecycle, rules, signing, store
from gateline.registry.contributors import contributors_of
from gateline.registry.model import Approval, HistoryEntry, HistoryKind, Meaning, Model, ModelVersion, State
from gateline.registry.registration import Registration, link, sound_registration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy.orm import Session

    from gateline.access import Access, Principal
    from gateline.data import Datasets, ObjectStore
    from gateline.features import FeatureFits, FeatureSets
    from gateline.gates import Gates
    from gateline.ledger import Ledger, Transaction
    from gateline.lineage import Lineage
    from gateline.tracking import Tracking


class Registry:
    """Which model versions exist, where each stands, who approved it, and what serves in which environment.

    Callers may rely on: no version without lineage, metrics and owner; a version is a candidate only when a gate run passed on these
    very files; nobody who contributed to a version approves it; at most one version of a model is placed in an environment; nothing is
    placed without passed gates and an approval; every change, and every refused approval, is in the ledger.

    Args:
        ledger: Records and signs.
        objects: Holds the files.
        lineage: Knows who made what from what.
        access: Decides who may approve.
        gates: Knows gate runs.
        tracking: Knows frozen runs.
        datasets: Knows dataset versions.
        feature_sets: Knows feature set versions.
        feature_fits: Knows who fitted their transforms.
    """

    def __init__(
        self,
        ledger: Ledger,
        objects: ObjectStore,
        lineage: Lineage,
        *,
        access: Access,
        gates: Gates,
        tracking: Tracking,
        datasets: Datasets,
        feature_sets: FeatureSets,
        feature_fits: FeatureFits,
    ) -> None:
        self._ledger = ledger
        self._objects = objects
        self._lineage = lineage
        self._access = access
        self._gates = gates
        self._tracking = tracking
        self._datasets = datasets
        self._feature_sets = feature_sets
        self._feature_fits = feature_fits

    def register(
        self,
        actor: str,
        name: str,
        *,
        run_id: str,
        model_files: Mapping[str, str],
        gate_run_id: str,
        feature_set: str,
        dataset_versions: Sequence[str],
        training_frame: str,
        metrics: Mapping[str, float],
        owner: str,
        trained_from: int,
        trained_until: int,
        description: str = "",
    ) -> ModelVersion:
        """Register a version; the caller is its author. An equal registration returns the earlier version.

        It becomes a candidate when the gate run passed on these very files, run and training rows; otherwise it stays in development,
        and `gates_reason` says why.

        Args:
            actor: The author.
            name: Name of the model.
            run_id: A frozen run.
            model_files: Manifest of the served form {path: sha256}; the files are in the object store.
            gate_run_id: The gate run; empty when none was made.
            feature_set: Id of the feature set version.
            dataset_versions: Ids of the dataset versions; those the feature set pins must be among them.
            training_frame: SHA-256 of the rows it was trained on, in the object store.
            metrics: At least one finite number.
            owner: Who answers for the model.
            trained_from: Begin of the training period in UTC microseconds.
            trained_until: End of the training period in UTC microseconds.
            description: Words for people.

        Raises:
            InvalidInput: something is missing or wrong; all of it is named.
        """
        given = Registration(
            name=valid_name("model", name), run_id=run_id, files=dict(model_files), gate_run_id=gate_run_id, feature_set=feature_set,
            dataset_versions=tuple(dict.fromkeys(dataset_versions)), training_frame=training_frame, metrics=dict(metrics), owner=owner,
            trained_from=trained_from, trained_until=trained_until, description=description,
        )  # fmt: skip
        found = sound_registration(
            given, objects=self._objects, tracking=self._tracking, datasets=self._datasets, feature_sets=self._feature_sets,
            gates=self._gates,
        )  # fmt: skip
        with self._ledger.transaction(actor) as tx:
            model = store.lock_model(tx.session, name, tx.now)
            same = store.same_version(tx.session, name, run_id=run_id, digest=found.digest, gate_run_id=gate_run_id)
            if same is not None:
                return store.to_version(same)
            model.versions += 1
            row = found.row(number=model.versions, now=tx.now, actor=actor)
            tx.session.add(row)
            tx.session.flush()
            lifecycle.note(tx, row, HistoryKind.REGISTERED, reason=row.gates_reason)
            version = store.to_version(row)
            tx.record("model.version.registered", version.id, version.as_dict())
            tx.publish(
                "model.version.registered",
                {
                    "id": version.id, "name": name, "version": version.version, "state": version.state.value, "run_id": run_id,
                    "files": dict(version.files), "digest": version.digest, "gate_run": gate_run_id,
                },
            )  # fmt: skip
            link(self._lineage, tx, version)
            return version

    def attach_gate_run(self, actor: str, version: str, gate_run_id: str) -> ModelVersion:
        """Make a version in development a candidate by a gate run that passed on it.

        Raises:
            NotFound: there is no such version or gate run.
            Conflict: the gate run did not pass or judged another model, or the version is no longer in development.
        """
        run = self._gates.get(gate_run_id)
        with self._ledger.transaction(actor) as tx:
            row = self._locked(tx, version)
            shortfall = rules.gate_shortfall(run, store.to_version(row).subject())
            if shortfall:
                raise Conflict(f"{version} stays in {row.state}: {shortfall}.", next_step="Judge this version and attach that gate run.")
            rules.require_transition(version, State(row.state), State.CANDIDATE)
            row.gate_run_id, row.gates_passed, row.gates_reason = gate_run_id, True, ""
            lifecycle.change_state(tx, row, State.CANDIDATE, f"gate run {gate_run_id} passed")
            link(self._lineage, tx, store.to_version(row))
            return store.to_version(row)

    def approve(self, principal: Principal, version: str, meaning: Meaning | str, comment: str) -> Approval:
        """Sign a version. The signature is bound to the digests of files, run, gate run, policy and data.

        A refusal is recorded too, in a transaction of its own.

        Raises:
            NotFound: there is no such version.
            InvalidInput: meaning or comment is missing or unknown.
            Denied: policy refuses; contributors are computed from lineage here, never taken from a client.
            Conflict: the same person signed already, or the version is no candidate any more.
            IntegrityFailure: a file changed under its digest.
        """
        given = signing.known_meaning(meaning)
        if not comment.strip() or len(comment) > TEXT_LENGTH_MAX:
            raise InvalidInput("An approval needs a comment.", next_step=f"Say why, in at most {TEXT_LENGTH_MAX:,} characters.")
        found = self.get(version)
        try:
            return self._sign(principal, found, given, comment)
        except (Denied, Conflict) as refusal:
            signing.record_refusal(self._ledger, principal, version, given, refusal)
            raise

    def _sign(self, principal: Principal, version: ModelVersion, meaning: Meaning, comment: str) -> Approval:
        self._access.require(principal, Permission.MODEL_APPROVE, resource=version.id, facts=self._facts(version))
        for sha256 in version.files.values():
            self._objects.verify(sha256)
        subjects = signing.subjects_of(version, self._gates.get(version.gate_run_id))
        with self._ledger.transaction(principal.name) as tx:
            return signing.sign(self._ledger, tx, self._locked(tx, version.id), principal, meaning, comment, subjects)

    def _facts(self, version: ModelVersion) -> dict[str, Any]:
        facts: dict[str, Any] = {"author": version.created_by, "gatesPassed": version.gates_passed, "state": version.state.value}
        found = self.contributors(version.id)
        if found is not None:  # a fact that is missing counts against the caller
            facts["contributors"] = sorted(found)
        return facts

    def contributors(self, version: str) -> frozenset[str] | None:
        """Return who contributed data, features, code or runs to a version; None when lineage names something that has no record."""
        return contributors_of(
            self.get(version), lineage=self._lineage, tracking=self._tracking, datasets=self._datasets, feature_sets=self._feature_sets,
            feature_fits=self._feature_fits,
        )  # fmt: skip

    def reject(self, tx: Transaction, version: str, reason: str) -> ModelVersion:
        """Turn a version down for good, inside the caller's transaction; again, it changes nothing.

        Raises:
            Conflict: it serves somewhere; it has to leave first.
        """
        row = self._locked(tx, version)
        lifecycle.change_state(tx, row, State.REJECTED, reason)
        return store.to_version(row)

    def turn_down(self, actor: str, version: str, reason: str) -> ModelVersion:
        """Turn a version down for good, at a person's word; raises Conflict when it serves somewhere."""
        if not reason.strip() or len(reason) > TEXT_LENGTH_MAX:
            raise InvalidInput("A rejection needs a reason.", next_step=f"Say why, in at most {TEXT_LENGTH_MAX:,} characters.")
        with self._ledger.transaction(actor) as tx:
            row = self._locked(tx, version)
            if rules.is_placed(State(row.state)):
                raise Conflict(f"{version} is in {row.state} and cannot be turned down there.", next_step="Roll it back first.")
            return self.reject(tx, version, reason)

    def promote(self, tx: Transaction, version: str, environment: str, reason: str = "promoted by its rollout") -> str:
        """Place a version in an environment, inside the rollout's transaction, and return the id of the one before (empty: none).

        The one before is retired (in staging: a candidate again). Promoting a retired version is a rollback to it.

        Raises:
            NotFound: there is no such version.
            Conflict: it lacks passed gates or an approval, or its state does not allow it.
        """
        environment = valid_name("environment", environment)
        row = self._locked(tx, version)
        approval = rules.releasing_approval(store.approvals(tx.session, version), row.digest)
        rules.require_promotable(
            version, State(row.state), gates_passed=row.gates_passed, approved=approval is not None, environment=environment
        )
        return lifecycle.place(tx, row, environment, reason)

    def retire(self, tx: Transaction, version: str, reason: str = "retired by its rollout") -> ModelVersion:
        """Take a version out of every environment, inside the rollout's transaction.

        Raises:
            Conflict: it is placed nowhere.
        """
        row = self._locked(tx, version)
        if not rules.is_placed(State(row.state)):
            rules.require_transition(version, State(row.state), State.RETIRED)
        lifecycle.remove(tx, row, reason)
        return store.to_version(row)

    def get(self, version: str, *, tx: Transaction | None = None) -> ModelVersion:
        """Return a version; raises NotFound. With `tx`, as that transaction sees it."""
        with self._session(tx) as session:
            return store.to_version(store.version_row(session, version))

    def versions(self, name: str) -> list[ModelVersion]:
        """Return all versions of a model, newest first; raises NotFound when it has none."""
        with self._ledger.records.read() as session:
            found = store.versions(session, name)
        if not found:
            raise NotFound(f"There is no model '{name[:NAME_LENGTH_MAX]}'.", next_step="List them: gateline model list")
        return found

    def models(self) -> list[Model]:
        """Return all models by name."""
        with self._ledger.records.read() as session:
            return store.models(session)

    def champion(self, name: str, environment: str = rules.PRODUCTION_ENVIRONMENT, *, tx: Transaction | None = None) -> ModelVersion | None:
        """Return the version of a model that is placed in an environment, or None."""
        with self._session(tx) as session:
            placed = session.get(store.PlacementRow, (name, environment))
            return None if placed is None else store.to_version(store.version_row(session, placed.model_version))

    def approvals(self, version: str) -> list[Approval]:
        """Return the signatures under a version, oldest first."""
        with self._ledger.records.read() as session:
            return store.approvals(session, store.version_row(session, version).id)

    def approval(self, version: str, *, tx: Transaction | None = None) -> Approval | None:
        """Return the newest approval that authorises a release of the version as it is, or None."""
        with self._session(tx) as session:
            row = store.version_row(session, version)
            return rules.releasing_approval(store.approvals(session, version), row.digest)

    def history(self, name: str, *, limit: int = PAGE_ROWS_MAX) -> list[HistoryEntry]:
        """Return what happened to the versions of a model, oldest first: who, when, what and why; raises NotFound."""
        with self._ledger.records.read() as session:
            found = store.history(session, name, min(limit, PAGE_ROWS_MAX))
        if not found:
            raise NotFound(f"There is no model '{name[:NAME_LENGTH_MAX]}'.", next_step="List them: gateline model list")
        return found

    def _session(self, tx: Transaction | None) -> AbstractContextManager[Session]:
        return self._ledger.records.read() if tx is None else nullcontext(tx.session)

    @staticmethod
    def _locked(tx: Transaction, version: str) -> store.VersionRow:
        """Return the row of a version with its model locked, so that changes of one model follow each other."""
        row = store.version_row(tx.session, version)
        store.lock_model(tx.session, row.name, tx.now)
        return store.version_row(tx.session, version)
