"""Checks of a LightGBM model text before the C library sees it.

The C parser trusts the sizes in the text: a truncated or edited model makes it read beyond the buffer and end the process. So the
structure is checked here first: every block where it is declared, every array as long as it must be, every child and feature in range,
no cycle. A text that passes can be loaded and scored without harm.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateline.kernel.errors import IntegrityFailure, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

_CATEGORIES_KEY = "pandas_categorical:"
_END_OF_TREES = b"end of trees"
_NODE_ARRAYS = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
_NODE_STATISTICS = ("split_gain", "internal_value", "internal_weight", "internal_count")
_LEAF_STATISTICS = ("leaf_weight", "leaf_count")
_CATEGORY_ARRAYS = ("cat_boundaries", "cat_threshold")
_SCALARS = ("Tree", "num_leaves", "num_cat", "is_linear", "shrinkage")
_KNOWN = {*_NODE_ARRAYS, *_NODE_STATISTICS, *_LEAF_STATISTICS, *_CATEGORY_ARRAYS, *_SCALARS, "leaf_value"}
_CATEGORICAL_SPLIT = 1


def model_columns(text: str) -> tuple[str, ...]:
    """Return the column names of a LightGBM model text, in the model's order.

    Raises:
        IntegrityFailure: the text has no line `feature_names=` before its trees.
    """
    header, _separator, _trees = text.partition("\nTree=")
    for line in header.splitlines():
        if line.startswith("feature_names="):
            return tuple(line.removeprefix("feature_names=").split(" "))
    raise IntegrityFailure("The text is not a LightGBM model: it has no line 'feature_names='.")


def category_lists(text: str) -> list[tuple[str, ...]]:
    """Return the category lists that LightGBM keeps for pandas columns, in column order; empty when there are none.

    Raises:
        InvalidInput: the categories are not text.
        IntegrityFailure: the line cannot be read.
    """
    start = text.rfind(_CATEGORIES_KEY)
    if start < 0:
        return []
    try:
        found = json.loads(text[start + len(_CATEGORIES_KEY) :].partition("\n")[0]) or []
    except ValueError as error:
        raise IntegrityFailure(f"The model's line '{_CATEGORIES_KEY}' is not JSON: {error}.") from error
    if not isinstance(found, list) or any(not isinstance(names, list) for names in found):
        raise IntegrityFailure(f"The model's line '{_CATEGORIES_KEY}' is not a list of lists.")
    if any(not isinstance(name, str) for names in found for name in names):
        raise InvalidInput("The model has categories that are not text.", next_step="Train on categories of strings.")
    return [tuple(names) for names in found]


def check_model_text(text: str) -> None:
    """Accept a model text that the C library can load and score safely.

    Raises:
        IntegrityFailure: names the first place where the structure is broken.
        InvalidInput: the model is sound but of a kind that is not served (several outputs, linear trees).
    """
    content = text.encode()
    head, separator, _rest = content.partition(b"\n\n")
    header = _fields("the header", head.decode())
    if not content.startswith(b"tree\n") or not separator or "tree_sizes" not in header:
        raise IntegrityFailure("The text is not a LightGBM model: its header is incomplete.")
    if header.get("num_class") != "1" or header.get("num_tree_per_iteration") != "1":
        raise InvalidInput("The model gives more than one output per row; only models with one output are served.")
    columns = len(model_columns(text))
    if header.get("max_feature_idx") != str(columns - 1) or len(header.get("feature_infos", "").split(" ")) != columns:
        raise IntegrityFailure("The model's header contradicts itself about the number of columns.")
    place = len(head) + len(separator)
    for index, size in enumerate(_integers("the header", "tree_sizes", header["tree_sizes"])):
        block = content[place : place + size]
        if size <= 0 or len(block) != size or not block.startswith(b"Tree=%d\n" % index):
            raise IntegrityFailure(f"Tree {index} of the model is not where the header says: the text was cut or changed.")
        _check_tree(f"tree {index}", _fields(f"tree {index}", block.decode()), columns)
        place += size
    if not content[place:].startswith(_END_OF_TREES):
        raise IntegrityFailure("The model's trees do not end where the header says: the text was cut or changed.")


def _fields(place: str, text: str) -> dict[str, str]:
    """Return the `key=value` lines of a block; a key may come once."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.partition("=")
        if separator and key in found:
            raise IntegrityFailure(f"The model is damaged: {place} says '{key}' twice.")
        if separator:
            found[key] = value
    return found


def _numbers(place: str, key: str, text: str) -> list[float]:
    try:
        return [float(token) for token in text.split()]
    except ValueError as error:
        raise IntegrityFailure(f"The model is damaged: '{key}' of {place} holds something that is no number.") from error


def _integers(place: str, key: str, text: str) -> list[int]:
    try:
        return [int(token) for token in text.split()]
    except ValueError as error:
        raise IntegrityFailure(f"The model is damaged: '{key}' of {place} holds something that is no whole number.") from error


def _check_tree(place: str, tree: Mapping[str, str], columns: int) -> None:
    unknown = sorted(set(tree) - _KNOWN)
    if tree.get("is_linear", "0") != "0" or any(key.startswith("leaf_coeff") for key in tree):
        raise InvalidInput("The model has linear trees, which are not served.", next_step="Train with linear_tree=false.")
    if unknown:
        raise IntegrityFailure(f"The model is damaged: {place} has unknown fields {', '.join(unknown)}.")
    counts = [_integers(place, key, tree.get(key, "")) for key in ("num_leaves", "num_cat")]
    if any(len(count) != 1 for count in counts) or counts[0][0] < 1 or counts[1][0] < 0:
        raise IntegrityFailure(f"The model is damaged: {place} does not say how many leaves and categorical splits it has.")
    leaves, categorical = counts[0][0], counts[1][0]
    expected = dict.fromkeys((*_NODE_ARRAYS, *_NODE_STATISTICS), leaves - 1) | dict.fromkeys(_LEAF_STATISTICS, leaves)
    for key, length in (expected | {"leaf_value": leaves}).items():
        optional = key in _LEAF_STATISTICS or key in _NODE_STATISTICS
        found = _numbers(place, key, tree.get(key, ""))
        if len(found) != length and not (optional and (leaves == 1 or key not in tree)):
            raise IntegrityFailure(f"The model is damaged: '{key}' of {place} has {len(found)} values, not {length}.")
    _check_nodes(place, tree, columns, leaves)
    _check_categories(place, tree, categorical)


def _check_nodes(place: str, tree: Mapping[str, str], columns: int, leaves: int) -> None:
    """Every split reads a column there is, and its children come later: no cycle, no way out of the arrays."""
    features = _integers(place, "split_feature", tree.get("split_feature", ""))
    if any(not 0 <= feature < columns for feature in features):
        raise IntegrityFailure(f"The model is damaged: {place} splits on a column that does not exist.")
    for key in ("left_child", "right_child"):
        for node, child in enumerate(_integers(place, key, tree.get(key, ""))):
            if not (node < child < leaves - 1 or -leaves <= child < 0):
                raise IntegrityFailure(f"The model is damaged: '{key}' of node {node} of {place} leads nowhere.")


def _check_categories(place: str, tree: Mapping[str, str], categorical: int) -> None:
    """Every categorical split names a bit set that exists."""
    kinds = _integers(place, "decision_type", tree.get("decision_type", ""))
    thresholds = _numbers(place, "threshold", tree.get("threshold", ""))
    sets = [round(value) for kind, value in zip(kinds, thresholds, strict=True) if kind & _CATEGORICAL_SPLIT]
    if any(not 0 <= one < categorical for one in sets):
        raise IntegrityFailure(f"The model is damaged: a categorical split of {place} names a set that does not exist.")
    if not categorical:
        return
    boundaries = _integers(place, "cat_boundaries", tree.get("cat_boundaries", ""))
    words = _integers(place, "cat_threshold", tree.get("cat_threshold", ""))
    if len(boundaries) != categorical + 1 or boundaries[0] != 0 or boundaries[-1] != len(words) or sorted(boundaries) != boundaries:
        raise IntegrityFailure(f"The model is damaged: the category sets of {place} do not fit together.")
