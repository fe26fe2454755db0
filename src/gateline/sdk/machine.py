"""What the bits of a result depend on besides code and data: what is installed, who multiplies matrices, and with how many threads.

Equal numbers here do not promise equal bits, but where bits differ the reason is among them: the same rows fitted with another number of
threads, or another kernel of OpenBLAS, differ in the last places (docs/explanation/reproduction.md).
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
import sysconfig
from functools import lru_cache
from importlib import import_module  # noqa: TID251 - threadpoolctl comes with libraries that we do not need
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import digest, sha256_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip
"""Variables that say how many threads a library takes."""

BIT_VARIABLES = ("OPENBLAS_CORETYPE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "PYTHONHASHSEED", "CUBLAS_WORKSPACE_CONFIG")
"""Further variables that change bits: kernels of the libraries for matrices, and the order of sets of text."""

_UNSTABLE = ("/INSTALLER", "/REQUESTED", "/RECORD", "/direct_url.json", "/uv_cache.json")


def describe_distributions() -> dict[str, dict[str, Any]]:
    """Return for every installed distribution what is known of its content, by name.

    Returns:
        `files_sha256`: digest of the names and SHA-256 of its files as its RECORD lists them, without scripts and what installers add;
        absent where there is no RECORD. `archive_sha256`: of the wheel it came from, where the installer wrote it down (direct_url.json);
        most do not for what comes from an index. `editable` or `url`: where it came from, when not from an index.
    """
    return {name: dict(found) for name, found in _distributions(search_path())}


@lru_cache(maxsize=1)
def _distributions(_installed: tuple[tuple[str, int], ...]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    found: dict[str, Mapping[str, Any]] = {}
    for one in distributions():
        if one.name:
            found.setdefault(one.name.lower().replace("_", "-"), _content_of(one))
    return tuple(sorted(found.items()))


def _content_of(one: Distribution) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if record := one.read_text("RECORD"):
        lines = (line.rpartition(",")[0] for line in record.splitlines() if ",sha256=" in line and not line.startswith(".."))
        kept = sorted(line for line in lines if not line.rpartition(",")[0].endswith(_UNSTABLE))
        found["files_sha256"] = sha256_bytes("\n".join(kept).encode())
    try:
        origin = json.loads(one.read_text("direct_url.json") or "{}")
    except ValueError:
        return found
    if sha256 := origin.get("archive_info", {}).get("hashes", {}).get("sha256"):
        found["archive_sha256"] = sha256
    if origin.get("dir_info", {}).get("editable"):
        found["editable"] = True
    elif url := origin.get("url", ""):
        found["url"] = "a local file" if url.startswith("file:") else url.partition("?")[0].rpartition("@")[2]
    return found


def search_path() -> tuple[tuple[str, int], ...]:
    """Return the folders that packages are imported from, each with the time of its last change; installing a package changes one."""
    return tuple((folder, _changed_at(folder)) for folder in sys.path)


def _changed_at(folder: str) -> int:
    try:
        return Path(folder or ".").stat().st_mtime_ns
    except OSError:
        return 0


def describe_python() -> dict[str, Any]:
    """Return how the interpreter was built."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return {
        "build": " ".join(platform.python_build()),
        "compiler": platform.python_compiler(),
        "abi": sysconfig.get_config_var("SOABI") or "",
        "options_sha256": digest("python-build/1", str(options)),
        "libc": " ".join(part for part in platform.libc_ver() if part),
    }


def describe_cpu() -> dict[str, Any]:
    """Return model, family and flags of the first processor; empty where the system does not tell."""
    wanted = {"model name": "cpu", "vendor_id": "vendor", "cpu family": "family", "model": "model", "stepping": "stepping"}
    found: dict[str, Any] = {}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in wanted:
            found[wanted[name.strip()]] = value.strip()
        elif name.strip() in {"flags", "Features"}:
            found["flags"] = sorted(value.split())
    return found


def describe_threads() -> dict[str, Any]:
    """Return the processors this process may use, and the variables that say how many threads libraries take and which kernels."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    declared = {name: os.environ[name] for name in (*THREAD_VARIABLES, *BIT_VARIABLES) if name in os.environ}  # noqa: TID251 - recorded as they are
    return {"usable": usable, **declared}


def describe_libraries() -> list[dict[str, Any]]:
    """Return the libraries for matrices and threads that this process has loaded: name, version, kernel and threads of each.

    Told by threadpoolctl where it is installed; else numpy's build is told, which names the library, but not the kernel it chose. Empty
    when neither is there. Nothing is loaded for this.
    """
    numpy = sys.modules.get("numpy")
    if importlib.util.find_spec("threadpoolctl") is not None:
        loaded = import_module("threadpoolctl").threadpool_info()
        kept = ("user_api", "internal_api", "version", "architecture", "threading_layer", "num_threads")
        told = [{key: one[key] for key in kept if one.get(key) is not None} for one in loaded]
        return sorted(told, key=lambda one: json.dumps(one, sort_keys=True))
    if numpy is None:
        return []
    config = numpy.show_config(mode="dicts") or {}
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return [{"user_api": "blas", "internal_api": str(blas.get("name", "")), "version": str(blas.get("version", ""))}] if blas else []
