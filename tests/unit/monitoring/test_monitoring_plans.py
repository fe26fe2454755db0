from __future__ import annotations

import pytest

from gateline.kernel.errors import InvalidInput
from gateline.monitoring.model import DriftPolicy, FeaturePlan, MonitorPlan, PerformancePolicy, Unit
from gateline.monitoring.plans import check_plan, plan_from_dict


def test_a_plan_survives_json():
    plan = MonitorPlan(
        window_seconds=86_400, unit=Unit.HOUR, timezone="Asia/Dhaka", features=(FeaturePlan(name="a", seasonal=True),),
        drift=DriftPolicy(magnitude_min=0.1), performance=PerformancePolicy(auc_min=0.6),
    )  # fmt: skip
    assert plan_from_dict(plan.as_dict()) == plan
    assert plan_from_dict({}) == MonitorPlan()
    assert check_plan(plan) is plan


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"window": 3}, "unknown fields: window"),
        ({"drift": {"delta": 1}}, "drift has unknown fields: delta"),
        ({"drift": 3}, "drift must be an object"),
        ({"unit": "week"}, "unit has a value that cannot be read"),
        ({"features": ["a"]}, "features must be an object"),
        ({"features": [{}]}, "features has a value that cannot be read"),
        ({"features": 3}, "features has a value that cannot be read"),
        ({"window_seconds": 59}, "window_seconds must be"),
        ({"window_seconds": "604800"}, "window_seconds must be"),
        ({"window_seconds": 3600.5}, "window_seconds must be"),
        ({"window_seconds": True}, "window_seconds must be"),
        ({"lateness_seconds": 400_000}, "label_allowance_seconds must be at least"),
        ({"timezone": "Mars/Olympus"}, "timezone 'Mars/Olympus'"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"timezone": 3}, "timezone"),
        ({"features": [{"name": "a"}, {"name": "a"}]}, "named twice"),
        ({"features": [{"name": "prediction"}]}, "always watched"),
        ({"features": [{"name": 3}]}, "must be text"),
        ({"features": [{"name": "a", "kind": "text"}]}, "kind of 'a'"),
        ({"features": [{"name": "a", "seasonal": "yes"}]}, "seasonal of 'a'"),
        ({"drift": {"alpha": 0}}, "drift.alpha"),
        ({"drift": {"fires_min": 4}}, "drift.fires_min"),
        ({"drift": {"magnitude_min": 0.9}}, "drift.magnitude_max must be at least"),
        ({"performance": {"coverage_min": float("nan")}}, "performance.coverage_min"),
        ({"performance": {"units_min": 1}}, "performance.units_min"),
        ({"performance": {"auc_min": 2}}, "performance.auc_min"),
        ({"resolve_after_ok": 0}, "resolve_after_ok"),
    ],
)
def test_a_wrong_plan_is_refused_by_field(stored, words):
    with pytest.raises(InvalidInput) as caught:
        plan_from_dict(stored)
    assert words in caught.value.message


def test_all_mistakes_are_named_at_once():
    with pytest.raises(InvalidInput) as caught:
        plan_from_dict({"window_seconds": 1, "timezone": "x", "drift": {"alpha": 5}})
    assert all(word in caught.value.message for word in ("window_seconds", "timezone", "drift.alpha"))
