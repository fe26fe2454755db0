"""The table of reproductions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Index, Text, select, text
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.records import Row
from gateline.reproduction.model import Difference, Failure, Grade, LossInterval, Predictions, Reproduction, Stage

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


APPEND_ONLY_TABLES = ("reproduction",)
"""Tables whose rows the database refuses to change or remove."""


_ONCE = text("pipeline_run <> ''")  # an attempt that came to no run is an attempt of its own


class ReproductionRow(Row):
    """One reproduction; never updated."""

    __tablename__ = "reproduction"
    __table_args__ = (
        Index("reproduction_version", "model_version", "created_at"),
        Index("reproduction_run", "pipeline_run", "model_version", unique=True, sqlite_where=_ONCE, postgresql_where=_ONCE),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    model_version: Mapped[str] = mapped_column(Text)
    grade: Mapped[str] = mapped_column(Text)
    pipeline_run: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Text)
    document: Mapped[dict[str, Any]]
    created_at: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(Text)


def of_version(session: Session, version: str, limit: int) -> list[Reproduction]:
    """Return the reproductions of a version, newest first."""
    query = select(ReproductionRow).where(ReproductionRow.model_version == version)
    return [
        to_reproduction(row) for row in session.scalars(query.order_by(ReproductionRow.created_at.desc(), ReproductionRow.id).limit(limit))
    ]


def of_run(session: Session, version: str, pipeline_run: str) -> Reproduction | None:
    """Return the reproduction that rests on a pipeline run, if there is one."""
    query = select(ReproductionRow).where(ReproductionRow.pipeline_run == pipeline_run, ReproductionRow.model_version == version)
    row = session.scalar(query.limit(1))
    return None if row is None else to_reproduction(row)


def to_reproduction(row: ReproductionRow) -> Reproduction:
    """Return the domain value of a row."""
    document = row.document
    return Reproduction(
        id=row.id, model_version=row.model_version, grade=Grade(row.grade), sentence=document["sentence"],
        first_difference=_difference(document["first_difference"]) if document["first_difference"] else None,
        compared=tuple(_difference(one) for one in document["compared"]),
        predictions=Predictions(**_numbers(document["predictions"])) if document["predictions"] else None,
        loss=LossInterval(**_numbers(document["loss"])) if document["loss"] else None,
        failure=Failure(**{**document["failure"], "stage": Stage(document["failure"]["stage"])}) if document["failure"] else None,
        pipeline_run=row.pipeline_run, run_id=document["run_id"], rebuilt=document["rebuilt"], digest=row.digest,
        created_at=row.created_at, created_by=row.created_by,
    )  # fmt: skip


def _difference(document: dict[str, Any]) -> Difference:
    return Difference(**{**document, "stage": Stage(document["stage"])})


def _numbers(document: dict[str, Any]) -> dict[str, Any]:
    return {name: float(one) if one in ("inf", "-inf", "nan") else one for name, one in document.items()}
