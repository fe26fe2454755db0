"""Runs of pipelines: the queue, the steps, the content-addressed cache, and what makes retraining start by itself."""

from gateline.pipelines.model import Artifact, PipelineRun, Retraining, RunState, StepRun
from gateline.pipelines.service import ALERT_KINDS, Pipelines

__all__ = ["ALERT_KINDS", "Artifact", "PipelineRun", "Pipelines", "Retraining", "RunState", "StepRun"]
