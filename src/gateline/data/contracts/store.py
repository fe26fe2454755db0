"""The tables of contract versions and of their reviews. Rows are only ever added; the database refuses to change or delete one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ForeignKey, Text, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.data.contracts.form import contract_from_dict
from gateline.data.contracts.model import ContractId, ContractOrigin, ContractState, ContractVersion, Review
from gateline.kernel.records import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

APPEND_ONLY_TABLES = ("dataset_contract", "dataset_contract_review")


class ContractRow(Row):
    """One contract version."""

    __tablename__ = "dataset_contract"
    __table_args__ = (UniqueConstraint("dataset", "version", name="dataset_contract_number"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    dataset: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    digest: Mapped[str] = mapped_column(Text)
    document: Mapped[dict[str, Any]]
    origin: Mapped[str] = mapped_column(Text)
    evidence: Mapped[dict[str, Any]]
    created_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)


class ReviewRow(Row):
    """What became of a draft: at most one review for each contract version."""

    __tablename__ = "dataset_contract_review"

    contract: Mapped[str] = mapped_column(ForeignKey("dataset_contract.id"), primary_key=True)
    accepted: Mapped[bool]
    reviewer: Mapped[str] = mapped_column(Text)
    comment: Mapped[str] = mapped_column(Text)
    reviewed_at: Mapped[int]


def add(session: Session, version: ContractVersion) -> None:
    """Insert a draft."""
    session.add(
        ContractRow(
            id=version.id, dataset=version.dataset, version=version.version, digest=version.digest, document=version.contract.as_dict(),
            origin=version.origin.value, evidence=dict(version.evidence), created_at=version.created_at, created_by=version.created_by,
        )
    )  # fmt: skip


def add_review(session: Session, contract: ContractId, review: Review) -> None:
    """Insert the review of a draft."""
    session.add(ReviewRow(contract=contract, **review.as_dict()))


def lock(session: Session, dataset: str) -> None:
    """Let only one transaction at a time review contracts of the dataset or register a version under them."""
    session.execute(select(ContractRow.id).where(ContractRow.dataset == dataset, ContractRow.version == 1).with_for_update())


def newest_number(session: Session, dataset: str) -> int:
    """Return the highest contract number of the dataset; 0 when there is none."""
    return session.scalar(select(func.max(ContractRow.version)).where(ContractRow.dataset == dataset)) or 0


def in_force(session: Session, dataset: str) -> ContractVersion | None:
    """Return the newest accepted contract of the dataset."""
    query = (
        select(ContractRow, ReviewRow)
        .join(ReviewRow, ReviewRow.contract == ContractRow.id)
        .where(ContractRow.dataset == dataset, ReviewRow.accepted.is_(True))
        .order_by(ContractRow.version.desc())
        .limit(1)
    )
    row = session.execute(query).first()
    return None if row is None else _version(row[0], row[1], row[0].version)


def find(session: Session, dataset: str, version: int) -> ContractVersion | None:
    """Return one contract version."""
    return next((one for one in listed(session, dataset) if one.version == version), None)


def listed(session: Session, dataset: str | None) -> list[ContractVersion]:
    """Return all contract versions of a dataset, or of all datasets, by name and number."""
    query = (
        select(ContractRow, ReviewRow)
        .outerjoin(ReviewRow, ReviewRow.contract == ContractRow.id)
        .order_by(ContractRow.dataset, ContractRow.version)
    )
    if dataset is not None:
        query = query.where(ContractRow.dataset == dataset)
    rows: list[tuple[ContractRow, ReviewRow | None]] = [(row[0], row[1]) for row in session.execute(query)]
    newest = {contract.dataset: contract.version for contract, review in rows if _accepted(review)}
    return [_version(contract, review, newest.get(contract.dataset, 0)) for contract, review in rows]


def same(versions: Sequence[ContractVersion], digest: str) -> ContractVersion | None:
    """Return the contract in force with this digest, or a draft that may still follow it."""
    current = max((one.version for one in versions if one.state is ContractState.IN_FORCE), default=0)
    standing = [one for one in versions if one.version >= current and one.state in {ContractState.DRAFT, ContractState.IN_FORCE}]
    return next((one for one in reversed(standing) if one.digest == digest), None)


def _accepted(review: ReviewRow | None) -> bool:
    return review is not None and review.accepted


def _version(row: ContractRow, review: ReviewRow | None, newest_accepted: int) -> ContractVersion:
    state = ContractState.DRAFT
    if review is not None:
        state = ContractState.REJECTED
        if review.accepted:
            state = ContractState.IN_FORCE if row.version == newest_accepted else ContractState.SUPERSEDED
    return ContractVersion(
        id=ContractId(row.id), dataset=row.dataset, version=row.version, digest=row.digest, contract=contract_from_dict(row.document),
        origin=ContractOrigin(row.origin), evidence=row.evidence, created_at=row.created_at, created_by=row.created_by, state=state,
        review=None
        if review is None
        else Review(accepted=review.accepted, reviewer=review.reviewer, comment=review.comment, reviewed_at=review.reviewed_at),
    )  # fmt: skip
