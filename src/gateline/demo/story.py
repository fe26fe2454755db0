"""The story from beginning to end: nine chapters, then a server that stays."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.demo.chapters import approval, canary, data, evidence, features, monitoring, serving, training
from gateline.demo.memory import MemoryWatch
from gateline.demo.processes import Processes
from gateline.demo.stage import TOKENS_FILE, Stage, copy_project, create_roles, start_runner, start_server, unused_name
from gateline.demo.telling import Teller
from gateline.kernel.errors import Conflict, GatelineError, StepFailed
from gateline.kernel.files import storage_errors

if TYPE_CHECKING:
    from gateline.demo.options import Options

CHAPTERS: tuple[tuple[str, Callable[[Stage], None]], ...] = (
    ("The raw tables become dataset versions", data.tell),
    ("Features, as they were known one hour before departure", features.tell),
    ("Training in cached steps, recorded as an MLflow run", training.tell_training),
    ("The gates judge the candidate", training.tell_gates),
    ("Registration, approval, release", approval.tell),
    ("Real requests, late labels", serving.tell),
    ("A damaged challenger, and a harmless one", canary.tell),
    ("Weeks, drift, candidates", monitoring.tell),
    ("Lineage and ledger", evidence.tell),
)
MODEL = "flight-delay"


def tell_story(options: Options, teller: Teller) -> dict[str, Any]:
    """Tell the story and return its figures; unless `options.leave`, return only after Ctrl-C.

    Raises:
        StepFailed: a chapter failed; the message names it and says why.
        Conflict: another demo or server uses the folder.
    """
    started = time.monotonic()
    home = options.home.absolute()
    with storage_errors(home):
        home.mkdir(parents=True, exist_ok=True)
    with _lock(home), MemoryWatch() as memory, _stopping_on_sigterm():
        stage = Stage(options=options, teller=teller, memory=memory, processes=Processes(home / "logs"))
        try:
            _begin(stage)
            for number, (title, tell) in enumerate(CHAPTERS, 1):
                with teller.chapter(number, title):
                    _tell(stage, number, title, tell)
            figures = _sum_up(stage, time.monotonic() - started)
            if not options.leave:
                _stay(stage)
            return figures
        finally:
            stage.close()


def _begin(stage: Stage) -> None:
    """Start the server, create who acts, copy the project, start the runner."""
    started = time.monotonic()
    start_server(stage)
    seconds = time.monotonic() - started
    create_roles(stage)
    stage.model = unused_name(stage, MODEL)
    start_runner(stage, copy_project(stage))
    stage.teller.say(f"`gateline up` answers at {stage.url} after {seconds:.1f} s; MLflow loads in the background", "ok")
    stage.teller.say("the owner creates developer, validator, operator, auditor, and the services replayer and runner", "ok")
    if stage.model != MODEL:
        stage.teller.say(f"records of an earlier telling are here and stay; this one is about model and endpoint '{stage.model}'", "info")


def _tell(stage: Stage, number: int, title: str, tell: Callable[[Stage], None]) -> None:
    """Tell one chapter; whatever stops it is named after it."""
    try:
        tell(stage)
        for child in stage.children:
            child.require_alive()
    except GatelineError as error:
        raise StepFailed(
            f"Chapter {number} ({title}) failed: {error.message}",
            next_step=error.next_step or f"The logs are in {stage.options.home / 'logs'}.",
            facts={"chapter": number, "code": error.code, **error.facts},
        ) from error


def _sum_up(stage: Stage, seconds: float) -> dict[str, Any]:
    """Tell and return the figures of the whole."""
    stage.memory.sample()
    traffic, memory = stage.playing.traffic, stage.memory
    figures = {
        "seconds": round(seconds, 1),
        "chapters": [{"number": one.number, "title": one.title, "seconds": round(one.seconds, 1)} for one in stage.teller.chapters],
        "memory_peak_bytes": memory.peak_bytes,
        "processes": memory.processes,
        "requests": traffic.requests,
        "requests_per_second": round(traffic.rate),
        "request_ms_p50": round(traffic.quantile_ms(0.5), 2),
        "request_ms_p99": round(traffic.quantile_ms(0.99), 2),
        "labels": traffic.labels,
        "online": stage.facts["online"],
        "detection": stage.facts["detection"],
        "verdicts": stage.facts["verdicts"],
        "rolled_back": stage.facts["rolled_back"],
        "champion": stage.facts["champion"],
        "url": stage.url,
        "home": str(stage.options.home.absolute()),
    }
    peak = f"{memory.peak_bytes / 1e9:.2f} GB in {memory.processes} processes" if memory.peak_bytes else "not measured on this system"
    found = stage.facts["detection"]
    stage.teller.console.print()
    stage.teller.say(f"the story took {seconds:.1f} s; peak memory {peak}", "ok")
    stage.teller.say(
        f"{traffic.requests:,} requests at {traffic.rate:,.0f} per second while sending, p99 {traffic.quantile_ms(0.99):.1f} ms; "
        f"fault '{found['fault']}' found after {found['requests']:,} requests and {found['wall_seconds']:.1f} s",
        "ok",
    )
    return figures


def _stay(stage: Stage) -> None:
    """Leave the server running until Ctrl-C or SIGTERM."""
    home = stage.options.home.absolute()
    stage.teller.say(f"the server stays at {stage.url} (API {stage.url}/api/v1, MLflow {stage.url}/mlflow); Ctrl-C stops it", "event")
    stage.teller.more(f"tokens of all roles: {home / TOKENS_FILE} (readable by you alone)")
    forever = threading.Event()
    with contextlib.suppress(KeyboardInterrupt):
        while not forever.wait(1.0):
            for child in stage.children:
                child.require_alive()
    stage.teller.say("stopping", "info")


@contextmanager
def _lock(home: Path) -> Iterator[None]:
    """Hold the folder: two demos on one folder would tell each other's story.

    Raises:
        Conflict: another demo holds it.
    """
    descriptor = os.open(home / "demo.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                f"Another demo runs in {home}.", next_step="Stop it, or choose another folder: gateline demo --home DIR"
            ) from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _stopping_on_sigterm() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, so that children are stopped in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)
