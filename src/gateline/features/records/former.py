"""Definitions as they were stored before views had names of their own: read as what they mean today, and kept as they were written.

The stored text stays, because the digest in the ledger is over it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def in_todays_form(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return a definition in the form of `FeatureSet.as_dict`; one that is in it already comes back as it is."""
    if "parts" not in definition:
        return dict(definition)
    kept = {name: value for name, value in definition.items() if name not in {"parts", "on_demand"}}
    views = [_view(part) for part in definition["parts"]]
    if definition["on_demand"]:
        expressions = {one["name"]: one["sql"] for one in definition["on_demand"]}
        views.append({"kind": "on_demand", "name": "on_demand", "expressions": expressions})
    return {**kept, "views": views}


def _view(part: Mapping[str, Any]) -> dict[str, Any]:
    entity = {"name": "_".join(part["key"]), "keys": part["key"]}
    view = {"kind": part["kind"], "name": part["name"], "source": part["source"], "entity": entity}
    if part["kind"] == "window":
        aggregation = {"aggregate": part["aggregate"], "column": part["column"], "feature": part["name"]}
        return {**view, "aggregations": [aggregation], "windows": [part["window_seconds"]], "offset": part["offset_seconds"]}
    view["features"] = part["features"]
    if part["kind"] == "latest":
        view |= {"max_age": part["max_age_seconds"], "offset": part["offset_seconds"]}
    return view
