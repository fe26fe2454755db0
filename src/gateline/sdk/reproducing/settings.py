"""The environment and the settings that a version was trained in: packages, thread counts, kernels, processors."""

from __future__ import annotations

import os
import platform
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import StepFailed
from gateline.sdk.environment import installed_packages
from gateline.sdk.fingerprint import environment_digest
from gateline.sdk.isolation import Requirements, environment_python
from gateline.sdk.machine import BIT_VARIABLES, THREAD_VARIABLES, describe_cpu

if TYPE_CHECKING:
    from collections.abc import Mapping

_KERNELS = {"Haswell", "SkylakeX", "Zen", "Sandybridge", "Nehalem", "Cooperlake", "Sapphirerapids", "ARMV8", "NEOVERSEN1", "NEOVERSEV1"}


class EnvironmentChoice(StrEnum):
    """Where a version is retrained: `auto` takes the present environment when it is equal to the recorded one, and makes it when not."""

    AUTO = "auto"
    FRESH = "fresh"
    PRESENT = "present"


def rebuild_environment(recipe: Mapping[str, Any], choice: EnvironmentChoice, cache: Path) -> tuple[Path, str]:
    """Return the interpreter to retrain with, and in words what it is.

    Raises:
        StepFailed: the recorded packages cannot be installed; the message has uv's last lines.
        ConfigurationError: they have to be, and there is no uv.
    """
    recorded = recipe["environment"]
    equal = environment_digest() == recipe["environment_digest"]
    if choice is EnvironmentChoice.PRESENT or (choice is EnvironmentChoice.AUTO and equal):
        told = "equal to" if equal else "not equal to"
        return Path(sys.executable), f"The present environment, whose interpreter and packages are {told} the recorded ones."
    packages, distributions = recorded.get("packages") or {}, recorded.get("distributions") or {}
    if not packages:
        raise StepFailed("The run recorded no packages.", next_step="Retrain in the present environment: --environment present.")
    foreign = sorted(name for name in packages if set(distributions.get(name, {})) & {"editable", "url"} and name != "gateline")
    lines = [f"{name}=={version}" for name, version in sorted(packages.items()) if name not in {*foreign, "gateline"}]
    python = environment_python(Requirements(text="\n".join(lines) + "\n", complete=True), cache)
    told = f"A fresh environment of {len(lines):,} recorded packages and the Gateline that is here"
    if foreign:
        told += f"; without {', '.join(foreign[:10])}, which came from no index"
    if (before := packages.get("gateline")) != (now := installed_packages().get("gateline")):
        told += f" ({now} in place of {before})"
    if platform.python_version() != recorded.get("python"):
        told += f"; Python {platform.python_version()} in place of {recorded.get('python')}"
    return python, f"{told}."


def rebuild_variables(recipe: Mapping[str, Any], python: Path) -> tuple[dict[str, str], int, str]:
    """Return the variables to retrain with, how many processors to use, and what of that could not be had, in words."""
    threads = recipe["environment"].get("threads") or {}
    ours = {*THREAD_VARIABLES, *BIT_VARIABLES} | (set() if python == Path(sys.executable) else {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"})
    kept = {name: value for name, value in os.environ.items() if name not in ours}  # noqa: TID251 - a child inherits what its user has set
    kept |= {name: str(threads[name]) for name in (*THREAD_VARIABLES, *BIT_VARIABLES) if name in threads}
    told = []
    kernel = _kernel(recipe["environment"])
    if kernel and "OPENBLAS_CORETYPE" not in kept:
        kept["OPENBLAS_CORETYPE"] = kernel
        told.append(f"kernel {kernel} of OpenBLAS is asked for")
    wanted, usable = int(threads.get("usable") or 0), len(os.sched_getaffinity(0))
    if wanted > usable:
        told.append(f"{wanted} processors were used, {usable} are here")
    named = ", ".join(f"{name}={kept[name]}" for name in (*THREAD_VARIABLES, *BIT_VARIABLES) if name in kept)
    told.append(f"thread settings as recorded ({named or 'none set'}, {min(wanted, usable) or usable} processors)")
    return kept, min(wanted, usable) or usable, f"{'; '.join(told)}."


def _kernel(environment: Mapping[str, Any]) -> str:
    """Return the kernel of OpenBLAS that was used, when this is another processor, of the same architecture, that can be asked for it."""
    hardware = environment.get("hardware") or {}
    same = hardware.get("machine") == platform.machine() and hardware.get("flags") != describe_cpu().get("flags")
    found = {str(one.get("architecture", "")) for one in environment.get("libraries") or [] if one.get("internal_api") == "openblas"}
    return next(iter(found)) if same and len(found) == 1 and found <= _KERNELS else ""
