"""References: what the distributions and the quality of an endpoint are held against. Built from stored files, kept as stored files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import polars as pl

from gateline.data import ObjectStore
from gateline.kernel.canonical import canonical_bytes
from gateline.kernel.errors import InvalidInput
from gateline.monitoring.drift import FeatureReference, build_reference, feature_kind, instants
from gateline.monitoring.model import PREDICTION, FeaturePlan, MonitorPlan, Reference, ReferenceSource
from gateline.monitoring.performance import measure_reference

if TYPE_CHECKING:
    from pathlib import Path

_FORMAT = "gateline-reference/1"
_CACHED = 16


def build(
    objects: ObjectStore, source: ReferenceSource, plan: MonitorPlan, features: Sequence[FeaturePlan]
) -> tuple[bytes, dict[str, Any]]:
    """Return the stored form of a reference, and its summary.

    Args:
        objects: Holds the frame and the scores.
        source: Which files, and which columns.
        plan: Gives the windows and the policy.
        features: The watched features, each with its kind or None for that of its column.

    Raises:
        InvalidInput: a file is no Parquet table, is empty, or lacks columns; all that are missing are named.
        NotFound: a file is not stored.
        IntegrityFailure: a file changed under its digest.
    """
    frame = _read(objects.verified_path(source.frame), "frame")
    times = instants(frame, source.time)
    if missing := [feature.name for feature in features if feature.name not in frame.columns]:
        raise InvalidInput(
            f"The reference frame has no column {', '.join(missing[:20])}.",
            next_step=f"Its columns are {', '.join(frame.columns[:40])}.",
        )
    found = [build_reference(frame[f.name], f.name, feature_kind(f, frame[f.name]), times, plan) for f in features]
    performance: dict[str, Any] = {}
    if source.scores is not None:
        scores = _read(objects.verified_path(source.scores), "scores")
        if source.prediction not in scores.columns:
            raise InvalidInput(f"The scores have no column '{source.prediction}'; they have {', '.join(scores.columns[:40])}.")
        scored_at = instants(scores, source.time)
        found.append(build_reference(scores[source.prediction], PREDICTION, "numeric", scored_at, plan))
        performance = measure_reference(scores, scored_at, source.prediction, source.label, plan)
    summary = {
        "rows": len(frame),
        "features": {one.name: one.kind for one in found},
        "calibrated": {one.name: one.calibrations["all"].windows for one in found if "all" in one.calibrations},
        "performance": performance,
    }
    document = {"format": _FORMAT, "plan": plan.as_dict(), "summary": summary, "features": [one.as_dict() for one in found]}
    return canonical_bytes(document), summary


def _read(path: Path, what: str) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"The reference {what} is no readable Parquet table: {str(error)[:200]}.") from error
    if not len(frame):
        raise InvalidInput(f"The reference {what} has no rows.")
    return frame


class References:
    """Reads stored references; the last few are kept in memory, since they never change."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._load = lru_cache(maxsize=_CACHED)(self._read_document)

    def features(self, reference: Reference) -> Sequence[FeatureReference]:
        """Return the frozen profiles of a reference.

        Raises:
            IntegrityFailure: the stored file changed under its digest.
        """
        return self._load(reference.profile)

    def _read_document(self, sha256: str) -> tuple[FeatureReference, ...]:
        document = json.loads(self._objects.verified_path(sha256).read_bytes())
        return tuple(FeatureReference.from_dict(one) for one in document["features"])


def choose(references: Sequence[Reference], version: str) -> Reference | None:
    """Return the reference for a window that this version answered: the version's own newest one, else the newest of all.

    Args:
        references: Newest first.
        version: The version that answered most requests.
    """
    own = [reference for reference in references if reference.source.version == version]
    return next(iter(own or references), None)


def predictions_comparable(reference: Reference, version: str) -> bool:
    """Return whether the reference's predictions come from this version, as far as is known."""
    return reference.source.version in {"", version}


def performance_of(reference: Reference | None, version: str) -> Mapping[str, Any]:
    """Return the reference's performance where it is this version's; of another version only the base rate is kept."""
    if reference is None:
        return {}
    known: dict[str, Any] = reference.summary.get("performance", {})
    if predictions_comparable(reference, version):
        return known
    return {"base_rate": known["base_rate"]} if known.get("binary") else {}
