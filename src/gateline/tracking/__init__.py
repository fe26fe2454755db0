"""Runs: read from MLflow, frozen into records when they begin to matter."""

from gateline.tracking.comparison import COMPARED_RUNS_MAX, Comparison
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
)
from gateline.tracking.query import SAMPLED_POINTS_MAX, SAMPLED_POINTS_MIN, MetricHistory, MetricPoint, RunPage, RunQuery, sample
from gateline.tracking.service import Tracking, frozen_runs
from gateline.tracking.source import RunSource

__all__ = [
    "COMMIT_TAG", "COMPARED_RUNS_MAX", "DATASET_SHA256_TAG", "DATASET_VERSION_TAG", "ENVIRONMENT_FILE", "SAMPLED_POINTS_MAX",
    "SAMPLED_POINTS_MIN", "ArtifactFile", "Comparison", "DatasetUse", "LoggedModel", "MetricHistory", "MetricPoint", "RunFacts", "RunPage",
    "RunQuery", "RunSnapshot", "RunSource", "Tracking", "frozen_runs", "sample",
]  # fmt: skip
