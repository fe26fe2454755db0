"""What the database itself promises of reproductions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import IntegrityError

from gateline.reproduction.store import ReproductionRow

if TYPE_CHECKING:
    from gateline.kernel.records import Records


def add(records: Records, identity: str, *, version: str = "trees@1", pipeline_run: str) -> None:
    row = ReproductionRow(
        id=identity, model_version=version, grade="R0", pipeline_run=pipeline_run, digest="", document={}, created_at=1, created_by="ana"
    )
    with records.write() as session:
        session.add(row)


def test_a_pipeline_run_counts_once_for_a_version_whoever_grades_it(records: Records) -> None:
    """Two that grade it at the same time cannot both be kept; attempts that came to no run are as many as there were."""
    add(records, "rep_1", pipeline_run="prun_1")
    with pytest.raises(IntegrityError):
        add(records, "rep_2", pipeline_run="prun_1")
    add(records, "rep_3", version="trees@2", pipeline_run="prun_1")
    add(records, "rep_4", pipeline_run="")
    add(records, "rep_5", pipeline_run="")
