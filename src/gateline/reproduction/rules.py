"""Grading, and comparing what can be compared without reading files. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gateline.kernel.canonical import digest
from gateline.reproduction.model import TOLERANCE, Difference, Failure, Grade, LossInterval, Predictions, Stage

NAMED_MAX = 50
"""Most differences of one kind that are named one by one."""

LEDGER_MAX = 200
"""Most comparisons whose digests are written into the ledger; all of them count for the digest of the record."""

_PLAIN = ("python", "implementation", "platform", "seed")
_NESTED = ("python_build", "threads", "locks")
_CPU = ("machine", "cpu", "vendor", "family", "model", "stepping")


def grade(
    *, model_equal: bool | None, predictions: Predictions | None, loss: LossInterval | None, failure: Failure | None
) -> tuple[Grade, str]:
    """Return the grade and a sentence that says why, with the numbers.

    Args:
        model_equal: Whether the normalised models are equal; None when there was none to compare.
        predictions: What came of the probe rows, if anything.
        loss: What came of labelled rows, if anything.
        failure: Why the model could not be made again, if it could not.
    """
    if failure is not None:
        return Grade.R0, f"It could not be made again: {failure.stage} ({failure.name}): {failure.detail}"
    if predictions is None:
        told = "there are no predictions to compare: neither a served form and its holdout, nor a step that returns a column 'prediction'"
    elif predictions.bit_equal and model_equal:
        return Grade.R3, f"The normalised model and {predictions.rows:,} predictions are equal bit for bit."
    elif predictions.largest_difference <= TOLERANCE and predictions.decisions_changed == 0:
        return Grade.R2, (
            f"No decision differs, and no prediction by more than {predictions.largest_difference:.3g} of the {TOLERANCE:g} allowed "
            f"({predictions.rows:,} rows); {_model_told(model_equal)}."
        )
    else:
        told = (
            f"predictions differ by up to {predictions.largest_difference:.3g} ({TOLERANCE:g} are allowed) and "
            f"{predictions.decisions_changed:,} of {predictions.rows:,} decisions differ"
        )
    if loss is None:
        return Grade.R0, f"{told[0].upper()}{told[1:]}; and there are no labelled rows with units to judge the loss by."
    where = f"{loss.lower:.6g} to {loss.upper:.6g} (level {loss.level:g}, {loss.units:,} units)"
    if loss.units > 1 and loss.lower <= loss.found <= loss.upper:
        return Grade.R1, f"{told[0].upper()}{told[1:]}; the log loss {loss.found:.6g} lies inside that of the recorded model, {where}."
    return Grade.R0, f"{told[0].upper()}{told[1:]}; the log loss {loss.found:.6g} is not inside that of the recorded model, {where}."


def caveat(first: Difference | None) -> str:
    """Return a sentence when what the training rested on was not as recorded, though a grade was reached; else nothing."""
    rests_on = {Stage.DATA, Stage.FEATURES, Stage.CODE, Stage.ENVIRONMENT, Stage.PARAMETERS}
    return f" Yet not all was as recorded: {first.stage}, {first.name}." if first is not None and first.stage in rests_on else ""


def first_difference(compared: Sequence[Difference]) -> Difference | None:
    """Return where two trainings first went apart: the first that is not equal, in the order of the stages."""
    order = list(Stage)
    different = [one for one in compared if not one.equal]
    return min(different, key=lambda one: order.index(one.stage), default=None)


def compare_digests(stage: Stage, expected: Mapping[str, str], found: Mapping[str, str]) -> list[Difference]:
    """Return one comparison for each name that either side has; a missing value is empty text."""
    names = [*expected, *(name for name in found if name not in expected)]
    return [
        Difference(stage=stage, name=name, expected=want, found=have, equal=want == have)
        for name in names
        for want, have in [(expected.get(name, ""), found.get(name, ""))]
    ]


def compare_values(stage: Stage, expected: Mapping[str, Any], found: Mapping[str, Any], *, what: str) -> list[Difference]:
    """Return the values that differ, each by name, and all that are equal as one, under their digest."""
    texts = {name: (_text(expected.get(name)), _text(found.get(name))) for name in sorted({*expected, *found})}
    same = {name: want for name, (want, have) in texts.items() if want == have}
    different = [
        Difference(stage=stage, name=name, expected=want, found=have, equal=False) for name, (want, have) in texts.items() if want != have
    ]
    if same:
        sha256 = digest("equal-values/1", same)
        different.append(Difference(stage=stage, name=f"{len(same):,} {what}", expected=sha256, found=sha256, equal=True))
    return different[:NAMED_MAX] + different[-1:] * (len(different) > NAMED_MAX)


def environment_facts(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a recorded environment can change bits, under dotted names."""
    found: dict[str, Any] = {name: document[name] for name in _PLAIN if name in document}
    for name in _NESTED:
        found |= {f"{name}.{key}": value for key, value in _mapping(document.get(name)).items()}
    hardware = _mapping(document.get("hardware"))
    found |= {f"hardware.{name}": hardware[name] for name in _CPU if name in hardware}
    if "flags" in hardware:
        found["hardware.flags"] = digest("cpu-flags/1", hardware["flags"])
    found |= {f"packages.{name}": value for name, value in _mapping(document.get("packages")).items() if name != "gateline"}
    for name, value in _mapping(document.get("distributions")).items():
        if "files_sha256" in value and name != "gateline":
            found[f"files.{name}"] = value["files_sha256"]
    blas = [one for one in document.get("libraries") or [] if one.get("user_api") == "blas"]  # which others are loaded is chance
    for name in ("architecture", "num_threads"):
        found[f"blas.{name}"] = sorted({str(one[name]) for one in blas if name in one})
    return found


def bound_run_ids(text: str, old: Sequence[str], new: Sequence[str]) -> str:
    """Return a JSON text in which ids of the recorded run stand as those of the new one: they name, and are never equal.

    >>> bound_run_ids('"a1"', ["a1"], ["b2"])
    '"b2"'
    """
    for before, after in zip(old, new, strict=False):
        text = text.replace(before, after) if before and after else text
    return text


def needed_for(plan: Mapping[str, Any], wanted_nodes: Sequence[str]) -> dict[str, Any]:
    """Return the plan cut to some nodes and all they need, to be carried out without reusing anything and without asking anybody.

    Raises:
        KeyError: the plan lacks one of them.
    """
    from gateline.pipelines import plan_from_dict

    nodes = {one.name: one for one in plan_from_dict(dict(plan)).nodes}
    wanted, pending = set[str](), list(wanted_nodes)
    while pending:
        name = pending.pop()
        if name not in wanted:
            wanted.add(name)
            pending += nodes[name].needs()
    kept = [
        {**one, "options": {**one["options"], "cache": False, "approval": None, "approval_timeout_seconds": None}}
        for one in plan["nodes"]
        if one["name"] in wanted
    ]
    return {**plan, "nodes": kept, "output": None}


def _model_told(model_equal: bool | None) -> str:
    if model_equal is None:
        return "there is no logged model to compare"
    return "the normalised model is equal" if model_equal else "the normalised model is not equal bit for bit"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True)
