"""Runs of pipelines: the queue, the steps, the content-addressed cache, and what makes retraining start by itself.

What the SDK shares with the server, the plan of a run, loads nothing heavy; the service, and with it the database, comes when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gateline.pipelines.keys import key_argument, step_key
from gateline.pipelines.model import RUN_FINISHED, Artifact, Outcome, PipelineRun, Retraining, RunState, StepAttempt, StepRun, StepState
from gateline.pipelines.plan import (
    ArtifactKind,
    Plan,
    PlanNode,
    StepOptions,
    StepOutput,
    decision,
    fill,
    items_of,
    references,
)  # fmt: skip
from gateline.pipelines.plan_rules import option_mistakes, plan_from_dict, plan_mistakes
from gateline.pipelines.schedule_model import CatchUp, Limits, Schedule, Trigger, TriggerSource
from gateline.pipelines.search_model import TRIED, Comparison, Study, Trial, TrialState
from gateline.pipelines.search_rules import best_number
from gateline.pipelines.search_space import check_definition
from gateline.pipelines.tasks import Held, Report, Runner, StepClaim, Work
from gateline.pipelines.values import plain_value

if TYPE_CHECKING:
    from gateline.pipelines.approvals import Approvals
    from gateline.pipelines.backfills import Backfills
    from gateline.pipelines.jobs import Jobs
    from gateline.pipelines.limits import PipelineLimits
    from gateline.pipelines.schedules import Schedules
    from gateline.pipelines.search_showing import Showing
    from gateline.pipelines.searches import Searches
    from gateline.pipelines.service import Pipelines
    from gateline.pipelines.triggers import ALERT_KINDS, DATASET_VERSION, Triggers

__all__ = [
    "ALERT_KINDS", "DATASET_VERSION", "RUN_FINISHED", "TRIED", "Approvals", "Artifact", "ArtifactKind", "Backfills", "CatchUp",
    "Comparison", "Held", "Jobs", "Limits", "Outcome", "PipelineLimits", "PipelineRun", "Pipelines", "Plan", "PlanNode", "Report",
    "Retraining", "RunState", "Runner", "Schedule", "Schedules", "Searches", "Showing", "StepAttempt", "StepClaim", "StepOptions",
    "StepOutput", "StepRun", "StepState", "Study", "Trial", "TrialState", "Trigger", "TriggerSource", "Triggers", "Work", "best_number",
    "check_definition", "decision", "fill", "items_of", "key_argument", "option_mistakes", "plain_value", "plan_from_dict",
    "plan_mistakes", "references", "step_key",
]  # fmt: skip

_HOMES = {
    "ALERT_KINDS": "triggers", "Approvals": "approvals", "Backfills": "backfills", "DATASET_VERSION": "triggers", "Jobs": "jobs",
    "PipelineLimits": "limits", "Pipelines": "service", "Schedules": "schedules", "Searches": "searches", "Showing": "search_showing",
    "Triggers": "triggers",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load the service when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gateline.pipelines' has no attribute '{name}'")
    return getattr(importlib.import_module(f"gateline.pipelines.{_HOMES[name]}"), name)
