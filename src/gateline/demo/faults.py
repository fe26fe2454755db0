"""Faults between training and serving: the model is sound, its served form is not, so that gates on the holdout pass.

This is the usual way in which a good model does damage: a unit changes, two inputs are exchanged, a value stops being updated, the form
becomes slow, the classes are read the wrong way round. Only what the canary does with live requests shows it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateline.kernel.canonical import canonical_bytes
from gateline.kernel.errors import InvalidInput

SERVING_DOCUMENT = "serving.json"
MODEL_FILE = "model.txt"
SECONDS_PER_MINUTE = 60.0
SLOW_NODES = 240_000
SLOW_LEAVES_PER_TREE = 20_000


class Fault(StrEnum):
    """A class of fault of a served form."""

    WRONG_SCALE = "wrong scale"
    SWAPPED_COLUMNS = "swapped columns"
    STALE_FEATURE = "stale feature"
    SLOW = "slow"
    LABEL_FLIP = "label flip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A damaged form.

    Attributes:
        fault: What was done.
        sentence: What was done, in words with names and numbers.
        files: The form's files by name.
    """

    fault: Fault
    sentence: str
    files: dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Levers:
    """Which inputs of a form a fault pulls at.

    Attributes:
        scaled: The input that gets the wrong unit, and that stops being updated.
        swapped: Two numeric inputs that are exchanged.
        stale_value: The value at which the input stands still.
    """

    scaled: str
    swapped: tuple[str, str]
    stale_value: float


def choose_fault(seed: int) -> Fault:
    """Return the fault that a seed stands for.

    >>> str(choose_fault(1))
    'swapped columns'
    """
    return list(Fault)[seed % len(Fault)]


def damage(files: Mapping[str, bytes], fault: Fault, levers: Levers) -> Damage:
    """Return a damaged copy of a served form; the model inside stays what it was.

    Args:
        files: `serving.json` and `model.txt` of a sound form.
        fault: What to do to it.
        levers: Which inputs to use.

    Raises:
        InvalidInput: the form has no such input.
    """
    document = json.loads(files[SERVING_DOCUMENT])
    model, sentence = files[MODEL_FILE], ""
    match fault:
        case Fault.WRONG_SCALE:
            _input(document, levers.scaled)["scale"] = SECONDS_PER_MINUTE
            sentence = f"'{levers.scaled}' arrives in minutes and is read as if it were hours: every value times 60"
        case Fault.SWAPPED_COLUMNS:
            first, second = (_input(document, name) for name in levers.swapped)
            first["feature"], second["feature"] = second["feature"], first["feature"]
            sentence = f"columns '{levers.swapped[0]}' and '{levers.swapped[1]}' are exchanged"
        case Fault.STALE_FEATURE:
            _input(document, levers.scaled).update(scale=0.0, offset=levers.stale_value)
            sentence = f"'{levers.scaled}' stopped being updated and stands at {levers.stale_value:.1f}"
        case Fault.SLOW:
            model = slow_model(model.decode()).encode()
            document["files"][MODEL_FILE] = hashlib.sha256(model).hexdigest()
            sentence = f"the same scores by a model with {SLOW_NODES:,} more splits that decide nothing"
        case Fault.LABEL_FLIP:
            document["positive"] = False
            sentence = "the probability of the other class is returned"
    return Damage(fault=fault, sentence=sentence, files={SERVING_DOCUMENT: canonical_bytes(document), MODEL_FILE: model})


def slow_model(text: str, *, nodes: int = SLOW_NODES, leaves_per_tree: int = SLOW_LEAVES_PER_TREE) -> str:
    """Return a LightGBM model text with the same scores whose scoring walks through `nodes` more splits.

    The added trees are chains: each split sends every number to the next one, and every leaf holds the value 0.

    Raises:
        InvalidInput: the text is no LightGBM model with trees.
    """
    head, opening, rest = text.partition("\n\nTree=0\n")
    trees, closing, tail = rest.rpartition("end of trees")
    sizes = next((line for line in head.splitlines() if line.startswith("tree_sizes=")), "")
    if not (opening and closing and sizes):
        raise InvalidInput("The text is no LightGBM model with trees.")
    present = len(sizes.removeprefix("tree_sizes=").split())
    added = [_chain(present + number, leaves_per_tree) for number in range(max(1, round(nodes / leaves_per_tree)))]
    all_sizes = f"{sizes} {' '.join(str(len(tree)) for tree in added)}"
    return f"{head.replace(sizes, all_sizes)}{opening}{trees}{''.join(added)}{closing}{tail}"


def _chain(number: int, leaves: int) -> str:
    """Return a tree in which a row passes leaves - 1 splits; its text is ASCII, so its length in characters is its size in bytes."""
    splits = leaves - 1
    zeros = " ".join(["0"] * splits)
    fields = {
        "num_leaves": str(leaves),
        "num_cat": "0",
        "split_feature": zeros,
        "threshold": " ".join(["-1e300"] * splits),
        "decision_type": " ".join(["2"] * splits),  # numeric; a missing value counts as 0 and goes on as well
        "left_child": " ".join(str(~leaf) for leaf in range(splits)),
        "right_child": " ".join([*(str(node) for node in range(1, splits)), str(~splits)]),
        "leaf_value": " ".join(["0"] * leaves),
        "is_linear": "0",
        "shrinkage": "1",
    }
    lines = "".join(f"{name}={value}\n" for name, value in fields.items())
    return f"Tree={number}\n{lines}\n\n"


def _input(document: dict[str, Any], column: str) -> dict[str, Any]:
    """Return the input of a form that feeds a model column."""
    for one in document["inputs"]:
        if one["column"] == column:
            found: dict[str, Any] = one
            return found
    known = ", ".join(one["column"] for one in document["inputs"])
    raise InvalidInput(f"The served form has no column '{column}'. It has: {known}.")
