"""Recipes of model versions, what was compared after following one, and the grade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from gateline.kernel.clock import Instant

TOLERANCE = 1e-6
"""How far a prediction may be from the recorded one, in the unit of the prediction, for grade R2."""


class Grade(StrEnum):
    """How alike a version made again is to the one recorded.

    R3: the normalised model and the predictions on the probe rows are equal bit for bit. R2: no prediction differs by more than
    `TOLERANCE`, and no decision differs. R1: the loss on labelled rows lies inside the interval of the recorded model's. R0: neither, or
    it could not be made or compared.
    """

    R3 = "R3"
    R2 = "R2"
    R1 = "R1"
    R0 = "R0"

    def reaches(self, wanted: Grade) -> bool:
        """Return whether this grade is at least as good as another."""
        return self.value >= wanted.value


class Stage(StrEnum):
    """What is compared, in the order in which one thing rests on another."""

    DATA = "data"
    FEATURES = "features"
    CODE = "code"
    ENVIRONMENT = "environment"
    PARAMETERS = "parameters"
    ARTIFACT = "artifact"
    MODEL = "model"
    PREDICTIONS = "predictions"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that was compared.

    Attributes:
        stage: What kind of thing it is.
        name: Which one.
        expected: What is recorded of it: a digest, a version, a number; empty when nothing is.
        found: What came of it this time.
        equal: Whether they are equal.
    """

    stage: Stage
    name: str
    expected: str
    found: str
    equal: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {**asdict(self), "stage": self.stage.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Predictions of both models on the same rows.

    Attributes:
        source: What the rows are.
        rows: Their number.
        expected_sha256: Digest of the recorded model's predictions, as little-endian doubles.
        found_sha256: Digest of those of the model made again.
        largest_difference: The largest absolute difference; infinite when one is a number and the other is not.
        decisions_changed: Rows on another side of one half, when all predictions lie in 0 to 1; otherwise 0.
    """

    source: str
    rows: int
    expected_sha256: str
    found_sha256: str
    largest_difference: float
    decisions_changed: int

    @property
    def bit_equal(self) -> bool:
        """Whether all bits of all predictions are equal."""
        return self.expected_sha256 == self.found_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInterval:
    """The mean log loss (nats per row, smaller is better) of both models on labelled rows.

    Attributes:
        expected: That of the recorded model.
        found: That of the model made again.
        lower: Lower end of the interval of the recorded model's, resampling whole units.
        upper: Its upper end.
        level: Its coverage.
        units: Number of units.
    """

    expected: float
    found: float
    lower: float
    upper: float
    level: float
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a version could not be made again.

    Attributes:
        stage: What could not be had.
        name: Which one.
        detail: What went wrong, in words.
    """

    stage: Stage
    name: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What has to be done again for a model version.

    Attributes:
        model_version: Its id.
        run_id: The tracked run that it was registered from.
        pipeline_run: The pipeline run whose step logged that run.
        steps: That step, and the one that returned the version's served form; they and those before them are repeated, what comes after
            (gates, registration) is not.
        pipeline: Name of the pipeline.
        project: Name of the project.
        parameters: Of the pipeline run.
        environment_digest: Digest of interpreter and packages of the runner that drew that run.
        environment: What the tracked run recorded of where it ran (`environment.json`).
        code_diff: The uncommitted changes that it kept, base64; empty when it kept none.
    """

    model_version: str
    run_id: str
    pipeline_run: str
    steps: tuple[str, ...]
    pipeline: str
    project: str
    parameters: Mapping[str, Any]
    environment_digest: str
    environment: Mapping[str, Any]
    code_diff: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {**asdict(self), "steps": list(self.steps)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """The record of one attempt to make a model version again; it never changes.

    Attributes:
        id: Record id.
        model_version: The version.
        grade: How alike they are.
        sentence: Why this grade, with the numbers.
        first_difference: The first of `compared` that is not equal; None when all are.
        compared: Everything that was compared, in the order of `Stage`.
        predictions: What came of the probe rows; None when there was nothing to predict with or on.
        loss: What came of the labelled rows; None when there were none.
        failure: Why it could not be made again; None when it could.
        pipeline_run: The pipeline run that made it again; empty when it did not come to that.
        run_id: The tracked run of it; empty likewise.
        rebuilt: How code, environment and data were come by, in words of the client that did it.
        digest: Digest of all of the above but id and grade's words, bound into the ledger.
        created_at: UTC microseconds.
        created_by: Who did it.
    """

    id: str
    model_version: str
    grade: Grade
    sentence: str
    first_difference: Difference | None
    compared: tuple[Difference, ...]
    predictions: Predictions | None
    loss: LossInterval | None
    failure: Failure | None
    pipeline_run: str
    run_id: str
    rebuilt: Mapping[str, str] = field(default_factory=dict)
    digest: str
    created_at: Instant
    created_by: str

    def content(self) -> dict[str, Any]:
        """Return what is digested: everything but id, digest, time and person."""
        return {
            "model_version": self.model_version, "grade": self.grade.value, "sentence": self.sentence,
            "first_difference": self.first_difference.as_dict() if self.first_difference else None,
            "compared": [one.as_dict() for one in self.compared],
            "predictions": _plain(self.predictions), "loss": _plain(self.loss), "failure": _plain(self.failure),
            "pipeline_run": self.pipeline_run, "run_id": self.run_id, "rebuilt": dict(self.rebuilt),
        }  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Return every field for JSON."""
        return {"id": self.id, **self.content(), "digest": self.digest, "created_at": self.created_at, "created_by": self.created_by}


def _plain(value: Any) -> dict[str, Any] | None:
    """Return a part of the record for JSON; numbers that JSON cannot carry become text."""
    if value is None:
        return None
    special = ("inf", "-inf", "nan")
    return {name: str(one) if isinstance(one, float) and str(one) in special else one for name, one in asdict(value).items()}
