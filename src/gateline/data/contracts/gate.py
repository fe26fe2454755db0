"""The gate that every new dataset version passes: the contract in force, checked before anything of the version is stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateline.data import store
from gateline.data.contracts import store as contract_store
from gateline.data.contracts.model import RuleKind
from gateline.kernel.errors import Conflict, ContractBroken

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from sqlalchemy.orm import Session

    from gateline.data.contracts.model import ContractVersion, Violation
    from gateline.ledger import Ledger, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A table that keeps the contract in force when it was looked at; `contract` is None when the dataset has none."""

    dataset: str
    rows: int
    contract: ContractVersion | None

    def confirm(self, tx: Transaction) -> str:
        """Return the id of the contract that was kept, empty when there is none, inside the transaction that adds the version.

        Raises:
            Conflict: another contract took effect since the table was checked.
            ContractBroken: a version registered since makes the change of the number of rows too large.
        """
        contract_store.lock(tx.session, self.dataset)
        current = contract_store.in_force(tx.session, self.dataset)
        if (current and current.id) != (self.contract and self.contract.id):
            raise Conflict(f"Another contract of '{self.dataset}' took effect meanwhile.", next_step="Register the file again.")
        if current is None:
            return ""
        before = _rows_before(tx.session, self.dataset)
        if current.contract.row_count_change is not None and before is not None:
            from gateline.data.contracts.check import row_count_violations

            refuse_broken(current, row_count_violations(current.contract, self.rows, before))
        return current.id


def require_contract(ledger: Ledger, dataset: str, table: pl.DataFrame) -> Passed:
    """Check a table that shall become the next version of a dataset against the contract in force.

    Raises:
        ContractBroken: it breaks the contract; every broken rule is named with column, count and first rows.
    """
    with ledger.records.read() as session:
        contract = contract_store.in_force(session, dataset)
        before = _rows_before(session, dataset)
    if contract is not None:
        from gateline.data.contracts.check import check_table

        refuse_broken(contract, check_table(contract.contract, table, now=ledger.clock.now(), rows_before=before))
    return Passed(dataset=dataset, rows=table.height, contract=contract)


def require_rows(ledger: Ledger, dataset: str, rows: pl.DataFrame, numbers: Sequence[int]) -> None:
    """Check rows that shall be added to a dataset against what the contract in force promises of single rows.

    What it promises of a whole table (freshness, shares of missing values, change of the number of rows, values that never repeat among
    rows that came earlier) is seen when a version is cut.

    Args:
        ledger: Where the contracts are.
        dataset: Name of the dataset.
        rows: The rows.
        numbers: What errors call each of them, counted from 1 in what was sent.

    Raises:
        ContractBroken: they break it; every broken rule is named with column, count and first rows.
    """
    with ledger.records.read() as session:
        contract = contract_store.in_force(session, dataset)
    if contract is not None:
        from gateline.data.contracts.check import check_table

        single = replace(contract.contract, freshness=None)
        shares = {rule.name for rule in single.columns if rule.missing_share_limit}
        found = check_table(single, rows, now=ledger.clock.now(), numbers=numbers)
        refuse_broken(contract, [one for one in found if one.rule is not RuleKind.MISSING_VALUES or not shares.intersection(one.columns)])


def refuse_broken(version: ContractVersion, violations: Sequence[Violation]) -> None:
    """Raise one error that names everything that breaks a contract; does nothing when nothing does."""
    if violations:
        raise ContractBroken(
            f"The table breaks {version.id} {len(violations)} time{'s' if len(violations) > 1 else ''}: "
            f"{'; '.join(one.sentence for one in violations)}.",
            next_step=f"Correct the data, or propose another contract: gateline contract show {version.id} --toml.",
            facts={"contract": version.id, "violations": [one.as_dict() for one in violations]},
        )


def _rows_before(session: Session, dataset: str) -> int | None:
    newest = store.find(session, dataset, None)
    return None if newest is None else newest.row_count
