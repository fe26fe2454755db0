"""What differs between runs, and what is equal. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import number
from gateline.kernel.errors import InvalidInput
from gateline.kernel.run_names import (
    COMMIT_TAG,
    FEATURE_SET_DIGEST_TAG,
    FEATURE_SET_TAG,
    FIT_DIGEST_TAG,
    FIT_TAG,
    HEARTBEAT_TAG,
    LAST_WRITE_TAG,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateline.tracking.model import RunFacts

COMPARED_RUNS_MAX = 10
_CODE_TAGS = ("code.dirty", "code.diff_sha256", "mlflow.source.name")
_FEATURE_TAGS = (FEATURE_SET_TAG, FEATURE_SET_DIGEST_TAG, FIT_TAG, FIT_DIGEST_TAG)
_LEFT_OUT_TAGS = frozenset({"mlflow.runName", COMMIT_TAG, HEARTBEAT_TAG, LAST_WRITE_TAG})  # the last two only say when
_ENVIRONMENT_PREFIX = "environment."
_OTHER_SECTIONS = {"packages", "packages_sha256", "distributions", "code"}
"""What of an environment is told elsewhere, or says of a package more than its version does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: Ids in the order asked for.
        same: For each section, what all runs have with the same value.
        different: For each section, what they do not: a value per run, None where a run has none.
    """

    runs: tuple[str, ...]
    same: Mapping[str, Mapping[str, Any]]
    different: Mapping[str, Mapping[str, tuple[Any, ...]]]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        different = {section: {key: list(values) for key, values in found.items()} for section, found in self.different.items()}
        return {"runs": list(self.runs), "same": {key: dict(found) for key, found in self.same.items()}, "different": different}


def checked_runs(run_ids: Sequence[str]) -> list[str]:
    """Return the ids when they can be compared.

    Raises:
        InvalidInput: they are fewer than two, more than ten, or one is named twice.
    """
    if not 2 <= len(run_ids) <= COMPARED_RUNS_MAX or len(set(run_ids)) != len(run_ids):
        raise InvalidInput(
            f"{len(run_ids)} runs were named, {len(set(run_ids))} of them different.",
            next_step=f"Name 2 to {COMPARED_RUNS_MAX} runs, each once.",
        )
    return list(run_ids)


def compare(runs: Sequence[RunFacts], environments: Mapping[str, Mapping[str, Any]]) -> Comparison:
    """Return what differs between runs.

    Sections: parameters, metrics (NaN equals NaN), tags, inputs (by name and context), features, code, environment (interpreter,
    platform, hardware, threads, seed, lock files) and packages. The last two need `environment.json`; a run without counts as having none.

    Args:
        runs: Two or more.
        environments: The content of `environment.json` by run id, for the runs that logged one.
    """
    sections = [_sections(run, environments.get(run.run_id, {})) for run in runs]
    same: dict[str, dict[str, Any]] = {}
    different: dict[str, dict[str, tuple[Any, ...]]] = {}
    for name in sections[0]:
        found = [one[name] for one in sections]
        same[name], different[name] = {}, {}
        for key in sorted({key for one in found for key in one}):
            values = tuple(one.get(key) for one in found)
            if all(value == values[0] for value in values):
                same[name][key] = values[0]
            else:
                different[name][key] = values
    return Comparison(runs=tuple(run.run_id for run in runs), same=same, different=different)


def _sections(run: RunFacts, environment: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what is compared of one run, as plain values that JSON carries."""
    tags = {key: value for key, value in run.tags.items() if not key.startswith((_ENVIRONMENT_PREFIX, "mlflow.log-model."))}
    code = {key: tags.pop(key) for key in _CODE_TAGS if key in tags}
    features = {key: tags.pop(key) for key in _FEATURE_TAGS if key in tags}
    described = {key: value for key, value in environment.items() if key not in _OTHER_SECTIONS}
    digests = {key: value for key, value in run.tags.items() if key.startswith(_ENVIRONMENT_PREFIX)}
    return {
        "parameters": dict(run.params),
        "metrics": {name: number(value) for name, value in run.metrics.items()},
        "tags": {key: value for key, value in tags.items() if key not in _LEFT_OUT_TAGS},
        "inputs": {f"{one.name} ({one.context})": one.version or one.sha256 or one.digest for one in run.inputs},
        "features": features,
        "code": {"commit": run.code_commit, **code},
        "environment": {**digests, **_flat(described)},
        "packages": dict(environment.get("packages", {})),
    }


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested fields under dotted names; lists are compared as a whole."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = json.dumps(value) if isinstance(value, list) else value
    return found
