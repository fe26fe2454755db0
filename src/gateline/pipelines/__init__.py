"""Runs of pipelines: the queue, the steps, the content-addressed cache, and what makes retraining start by itself."""

from gateline.pipelines.model import (
    Artifact,
    Outcome,
    PipelineRun,
    Report,
    Retraining,
    RunState,
    StepAttempt,
    StepClaim,
    StepRun,
    StepState,
)
from gateline.pipelines.queue import Runner
from gateline.pipelines.service import ALERT_KINDS, Pipelines
from gateline.pipelines.work import Held, Work

__all__ = [
    "ALERT_KINDS", "Artifact", "Held", "Outcome", "PipelineRun", "Pipelines", "Report", "Retraining", "RunState", "Runner", "StepAttempt",
    "StepClaim", "StepRun", "StepState", "Work",
]  # fmt: skip
