"""One line for each closed week: drift with its worst features, performance on late labels with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateline.demo.stage import Stage

_SHOWN = 3
_MARKS = {"alert": "no", "warn": "warn", "ok": "ok", "info": "info", "not_enough_data": "info"}
_ORDER = {"alert": 0, "warn": 1}


def tell_week(stage: Stage, windows: list[dict[str, Any]]) -> None:
    """Write the line of one week."""
    by_analysis = {one["analysis"]: one for one in windows}
    drift, performance = by_analysis["drift"], by_analysis["performance"]
    worst = min((drift["state"], performance["state"]), key=lambda state: _ORDER.get(state, 2))
    stage.teller.say(
        f"week to {drift['end'][:10]}: {drift['rows']:,} requests; drift {drift['state']}{_features(drift)}; {_performance(performance)}",
        _MARKS[worst],
    )


def _features(window: dict[str, Any]) -> str:
    """Return the features that drifted most, with their scores."""
    moved = [one for one in window["result"].get("features", []) if one["state"] in _ORDER and one["score"] is not None]
    moved.sort(key=lambda one: (_ORDER[one["state"]], -one["score"]))
    words = [f"{one['name']} {one['score_name']} {one['score']:.2f}" for one in moved[:_SHOWN]]
    more = f" and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else ""
    return f": {', '.join(words)}{more}" if words else ""


def _performance(window: dict[str, Any]) -> str:
    """Return the log loss of the version that served most, with its interval, and how many labels there are."""
    groups = [one for one in window["result"].get("groups", []) if one["main"]]
    if not groups:
        return f"performance {window['state']}: {window['reason']}"
    group = groups[0]
    loss = next((one for one in group["metrics"] if one["name"] == "log_loss"), None)
    value = "log loss unknown"
    if loss is not None and loss["value"] is not None:
        ends = f" [{loss['lower']:.3f}, {loss['upper']:.3f}]" if loss["lower"] is not None else ""
        value = f"log loss {loss['value']:.3f}{ends}"
    return f"{group['version']} {window['state']}: {value}, labels {group['coverage']:.0%}"
