"""Runs: read from MLflow, frozen into records when they begin to matter."""

from gateline.tracking.model import (
    COMMIT_TAG,
    DATASET_SHA256_TAG,
    DATASET_VERSION_TAG,
    ENVIRONMENT_FILE,
    ArtifactFile,
    DatasetUse,
    LoggedModel,
    RunFacts,
    RunSnapshot,
    RunSource,
)
from gateline.tracking.service import Tracking, frozen_runs

__all__ = [
    "COMMIT_TAG", "DATASET_SHA256_TAG", "DATASET_VERSION_TAG", "ENVIRONMENT_FILE", "ArtifactFile", "DatasetUse", "LoggedModel", "RunFacts",
    "RunSnapshot", "RunSource", "Tracking", "frozen_runs",
]  # fmt: skip
