"""Runs measured scripts and servers in processes of their own, so that the memory and the imports of each are its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from bench.harness.environments import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OURS = Path(sys.executable)
QUIET = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}
MINUTES_MAX = 30


class Failed(SystemExit):
    """A measured process ended with an error; left alone, it ends the benchmark with its message."""


def measure(python: Path, module: str, *arguments: object, label: str = "", environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a module of bench/ with an interpreter and return what it reports.

    Args:
        python: `OURS`, or the interpreter in the environment of a peer.
        module: Such as `bench.features.feast_lookup`; it ends with `bench.harness.measured.report`.
        arguments: Of the module.
        label: For the line on the terminal; otherwise the module and its plain arguments.
        environment: Variables on top of those of this process.
    """
    command = [str(python), "-m", module, *map(str, arguments)]
    text = run(command, environment)
    found: dict[str, Any] = next(json.loads(line) for line in reversed(text.splitlines()) if line.startswith("{"))
    plain = " ".join(str(one) for one in arguments if not isinstance(one, Path))
    print(f"  {label or f'{module} {plain}'}: {_short(found)}", flush=True)
    return found


def run(command: list[str], environment: Mapping[str, str] | None = None) -> str:
    """Run a command in the repository and return what it printed; whatever it leaves running ends with it."""
    variables = os.environ | QUIET | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")} | (environment or {})
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables, start_new_session=True
    ) as process:
        try:
            output, trouble = process.communicate(timeout=MINUTES_MAX * 60)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{' '.join(command)} took more than {MINUTES_MAX} minutes") from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise Failed(f"{' '.join(command)} failed:\n{output[-1000:]}\n{trouble[-4000:]}")
    return output


@contextlib.contextmanager
def serving(command: list[str], ready: str, wanted: bytes, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run a server while the block runs, from when its page holds what is wanted; programs beside it come first in its PATH."""
    path = {"PATH": f"{Path(command[0]).parent}:{os.environ['PATH']}"}
    variables = os.environ | QUIET | path | (environment or {})
    with log.open("wb") as output, subprocess.Popen(
        command, stdout=output, stderr=output, env=variables, start_new_session=True
    ) as process:  # fmt: skip
        try:
            _wait(process, ready, wanted, log)
            yield
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _wait(process: subprocess.Popen[bytes], ready: str, wanted: bytes, log: Path) -> None:
    for _ in range(600):
        with contextlib.suppress(httpx.HTTPError):
            if wanted in httpx.get(ready, timeout=5, trust_env=False).content:
                return
        if process.poll() is not None:
            break
        time.sleep(0.5)
    raise SystemExit(f"{process.args} does not serve; see {log}.")


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def emptied(folder: Path) -> Path:
    """Return the folder, made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _short(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}
