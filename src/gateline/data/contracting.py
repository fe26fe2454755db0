"""Contracts of datasets: proposing, inferring, reviewing and finding them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from gateline.access import Permission
from gateline.data.contracts import store
from gateline.data.contracts.form import refuse
from gateline.data.contracts.model import Compatibility, Contract, ContractOrigin, ContractState, ContractVersion, Review
from gateline.data.contracts.rules import breaks, contract_id, contract_mistakes
from gateline.kernel.errors import Conflict, Denied, InvalidInput, NotFound
from gateline.kernel.limits import TEXT_LENGTH_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import polars as pl

    from gateline.access import Access, Principal
    from gateline.data.contracts.model import Break, Violation
    from gateline.data.model import DatasetVersion
    from gateline.data.service import Datasets
    from gateline.ledger import Ledger, Transaction

_ATTEMPTS = 5


class Contracts:
    """The contracts of an installation's datasets.

    Callers may rely on: a contract version is never changed or removed; only one that a person other than its author accepted takes
    effect; of a dataset the newest accepted one is in force; one that breaks the compatibility declared by the one in force never takes
    effect; every proposal, every review and every refused review is in the ledger.

    Args:
        ledger: Records and signs.
        access: Decides who may review.
        datasets: Knows dataset versions and their tables.
    """

    def __init__(self, ledger: Ledger, access: Access, datasets: Datasets) -> None:
        self._ledger = ledger
        self._access = access
        self._datasets = datasets

    def propose(self, actor: str, contract: Contract, origin: ContractOrigin = ContractOrigin.WRITTEN) -> ContractVersion:
        """Write a contract down as a draft, or return the draft or contract in force that says the same.

        Raises:
            InvalidInput: the contract has mistakes; all are named.
            Conflict: it breaks the compatibility that the contract in force declares; all breaks are named.
        """
        refuse(contract.dataset, contract_mistakes(contract))
        current = self.in_force(contract.dataset)
        if current is not None:
            _refuse_breaks(current, contract)
        return self._add(actor, contract, origin, {})

    def infer(self, actor: str, dataset: str, version: int | None = None) -> ContractVersion:
        """Draft a contract from the rows of a dataset version, by default the newest; see `gateline.data.contracts.infer`.

        The draft may break the compatibility that the contract in force declares, in which case it can be read, but not accepted.

        Raises:
            NotFound: there is no such dataset version.
            IntegrityFailure: its table changed under its digest.
        """
        from gateline.data.contracts.infer import infer_contract

        found = self._datasets.get(dataset, version)
        current = self.in_force(dataset)
        contract, seen = infer_contract(dataset, self._table(found), basis=current.contract if current else None)
        evidence = {"dataset_version": found.id, "digest": found.digest, "rows": found.row_count, "columns": seen}
        return self._add(actor, contract, ContractOrigin.INFERRED, evidence)

    def accept(self, principal: Principal, dataset: str, version: int, comment: str) -> ContractVersion:
        """Let a draft take effect: from now on every new version of the dataset must keep it. A refusal is recorded too.

        Raises:
            NotFound: there is no such contract.
            InvalidInput: the comment is missing.
            Denied: policy refuses, for example because the principal is the author.
            Conflict: it is no draft any more, a newer one is in force, or it is incompatible with the one in force.
        """
        return self._review(principal, dataset, version, comment, accepted=True)

    def reject(self, principal: Principal, dataset: str, version: int, comment: str) -> ContractVersion:
        """Turn a draft down for good; raises as `accept` does."""
        return self._review(principal, dataset, version, comment, accepted=False)

    def get(self, dataset: str, version: int | None = None) -> ContractVersion:
        """Return a contract version, by default the one in force; raises NotFound."""
        with self._ledger.records.read() as session:
            found = store.in_force(session, dataset) if version is None else store.find(session, dataset, version)
        if found is None:
            wanted = f"in force for dataset '{dataset[:100]}'" if version is None else f"'{contract_id(dataset[:100], version)}'"
            raise NotFound(f"There is no contract {wanted}.", next_step="See: gateline contract list.")
        return found

    def in_force(self, dataset: str) -> ContractVersion | None:
        """Return the contract that new versions of a dataset must keep, or None."""
        with self._ledger.records.read() as session:
            return store.in_force(session, dataset)

    def list(self, dataset: str | None = None) -> list[ContractVersion]:
        """Return every contract version of a dataset, or of all, by name and number."""
        with self._ledger.records.read() as session:
            return store.listed(session, dataset)

    def breaks(self, dataset: str, version: int, rule: Compatibility | None = None) -> tuple[Break, ...]:
        """Return what a contract version breaks against the one in force, by default under the rule that one declares.

        Raises:
            NotFound: there is no such contract.
        """
        found, current = self.get(dataset, version), self.in_force(dataset)
        return () if current is None else breaks(current.contract, found.contract, rule or current.contract.compatibility)

    def check(self, dataset: str, dataset_version: int | None = None, contract_version: int | None = None) -> tuple[Violation, ...]:
        """Return what a dataset version breaks of a contract, by default the newest and the one in force.

        Freshness is judged as of its registration and the number of rows against the version before it.

        Raises:
            NotFound: there is no such dataset version or contract.
            IntegrityFailure: its table changed under its digest.
        """
        from gateline.data.contracts.check import check_table

        contract = self.get(dataset, contract_version).contract
        found = self._datasets.get(dataset, dataset_version)
        before = self._datasets.get(dataset, found.version - 1).row_count if found.version > 1 else None
        return check_table(contract, self._table(found), now=found.created_at, rows_before=before)

    def _table(self, version: DatasetVersion) -> pl.DataFrame:
        import polars as pl

        return pl.read_parquet(list(self._datasets.table_paths(version)))

    def _add(self, actor: str, contract: Contract, origin: ContractOrigin, evidence: Mapping[str, Any]) -> ContractVersion:
        for _ in range(_ATTEMPTS):
            try:
                with self._ledger.transaction(actor) as tx:
                    known = store.same(store.listed(tx.session, contract.dataset), contract.digest)
                    if known is not None:
                        return known
                    number = store.newest_number(tx.session, contract.dataset) + 1
                    version = ContractVersion(
                        id=contract_id(contract.dataset, number), dataset=contract.dataset, version=number, digest=contract.digest,
                        contract=contract, origin=origin, evidence=evidence, created_at=tx.now, created_by=actor,
                        state=ContractState.DRAFT,
                    )  # fmt: skip
                    store.add(tx.session, version)
                    tx.session.flush()
                    payload = {"digest": version.digest, "origin": origin.value, "contract": contract.as_dict(), "evidence": dict(evidence)}
                    tx.record("dataset.contract.proposed", version.id, payload)
                return version
            except IntegrityError:
                continue  # another process took the number; look again
        raise Conflict(f"Contracts of '{contract.dataset}' are being proposed by others.", next_step="Run the command again.")

    def _review(self, principal: Principal, dataset: str, version: int, comment: str, *, accepted: bool) -> ContractVersion:
        if not comment.strip() or len(comment) > TEXT_LENGTH_MAX:
            raise InvalidInput("A review needs a comment.", next_step=f"Say why, in at most {TEXT_LENGTH_MAX:,} characters.")
        draft = self.get(dataset, version)
        try:
            self._access.require(principal, Permission.CONTRACT_REVIEW, resource=draft.id, facts={"author": draft.created_by})
            with self._ledger.transaction(principal.name) as tx:
                store.lock(tx.session, dataset)
                self._decide(tx, draft, Review(accepted=accepted, reviewer=principal.name, comment=comment, reviewed_at=tx.now))
        except (Denied, Conflict) as refusal:
            with self._ledger.transaction(principal.name) as tx:
                said = {"accepted": accepted, "code": refusal.code, "reason": refusal.message, "facts": refusal.facts}
                tx.record("dataset.contract.review_refused", draft.id, said)
            raise
        return self.get(dataset, version)

    @staticmethod
    def _decide(tx: Transaction, draft: ContractVersion, review: Review) -> None:
        """Write a review down when the state of the dataset's contracts allows it; they are locked."""
        now = {one.version: one for one in store.listed(tx.session, draft.dataset)}
        if now[draft.version].state is not ContractState.DRAFT:
            raise Conflict(f"{draft.id} is {now[draft.version].state} and no draft.", next_step="Propose a new contract.")
        current = next((one for one in now.values() if one.state is ContractState.IN_FORCE), None)
        if review.accepted and current is not None:
            if current.version > draft.version:
                raise Conflict(f"{current.id}, which is newer than {draft.id}, is in force.", next_step="Propose the contract again.")
            _refuse_breaks(current, draft.contract)
        store.add_review(tx.session, draft.id, review)
        payload = {"digest": draft.digest, "comment": review.comment, "replaces": current.id if review.accepted and current else ""}
        tx.record(f"dataset.contract.{'accepted' if review.accepted else 'rejected'}", draft.id, payload)
        tx.publish("dataset.contract.reviewed", {"id": draft.id, "dataset": draft.dataset, "accepted": review.accepted})


def _refuse_breaks(current: ContractVersion, contract: Contract) -> None:
    found: Sequence[Break] = breaks(current.contract, contract, current.contract.compatibility)
    if found:
        listed = "; ".join(one.sentence for one in found)
        raise Conflict(
            f"The contract is not {current.contract.compatibility} compatible with {current.id}: {listed}.",
            next_step="Change it, or first have a contract accepted that differs from the one in force in its compatibility alone.",
            facts={"in_force": current.id, "breaks": [one.as_dict() for one in found]},
        )
