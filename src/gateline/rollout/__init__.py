"""Releases and how they reach production: canary, promotion, probation, and rollback without a human."""

from __future__ import annotations

from gateline.rollout.model import Analysis, Baseline, Family, Release, Rollout, RolloutPlan, RolloutState
from gateline.rollout.service import PROMOTED, ROLLED_BACK, Rollouts

__all__ = ["PROMOTED", "ROLLED_BACK", "Analysis", "Baseline", "Family", "Release", "Rollout", "RolloutPlan", "RolloutState", "Rollouts"]
