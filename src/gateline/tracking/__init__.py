"""Runs: read from MLflow, frozen into records when they begin to matter."""

from gateline.tracking.comparison import COMPARED_RUNS_MAX, Comparison
from gateline.tracking.model import ArtifactFile, DatasetUse, LoggedModel, RunFacts, RunSnapshot
from gateline.tracking.query import SAMPLED_POINTS_MAX, SAMPLED_POINTS_MIN, MetricHistory, MetricPoint, RunPage, RunQuery, sample
from gateline.tracking.service import Tracking, frozen_runs
from gateline.tracking.source import RunSource

__all__ = [
    "COMPARED_RUNS_MAX", "SAMPLED_POINTS_MAX", "SAMPLED_POINTS_MIN", "ArtifactFile", "Comparison", "DatasetUse", "LoggedModel",
    "MetricHistory", "MetricPoint", "RunFacts", "RunPage", "RunQuery", "RunSnapshot", "RunSource", "Tracking", "frozen_runs", "sample",
]  # fmt: skip
