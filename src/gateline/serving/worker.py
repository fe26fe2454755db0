"""An inference worker: `python -m gateline.serving.worker --config '<json>'`, started by the fleet.

It shares nothing with other workers: it inherits the listening socket, keeps its own models and writes its own log. It watches the
routing snapshots on disk and goes on serving when the control plane is gone; it ends, after answering what it accepted, when its
supervisor ends (the control pipe closes) or at SIGTERM. Imports stay light: no database, no data frames, no training libraries.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import gc
import os
import signal
import socket
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import uvicorn

from gateline.kernel.clock import SystemClock
from gateline.kernel.errors import Conflict, GatelineError
from gateline.kernel.limits import INFERENCE_BYTES_MAX, INFERENCE_ROWS_MAX
from gateline.serving.application import Application
from gateline.serving.log import SEGMENT_BYTES_MAX, LogWriter
from gateline.serving.predictor import ServedEndpoint
from gateline.serving.routing import FormCache, LoadedRoute, read_route

if TYPE_CHECKING:
    from collections.abc import Callable

ROUTE_PREFIX, ROUTE_SUFFIX = "route-", ".json"
_POLL_SECONDS = 0.05
_RETRY_SECONDS = 1.0
_SYNC_SECONDS = 0.005
_DRAIN_SECONDS = 5
_KEEP_ALIVE_SECONDS = 75
_LOCK_SECONDS = 10.0
_GC_THRESHOLD = 50_000


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the fleet tells a worker.

    Attributes:
        name: Its name; its log files bear it.
        serving: The serving folder of the home.
        token_key: File with the key of token hashes.
        listener: Descriptor of the listening socket.
        control: Descriptor of the pipe whose end means that the supervisor is gone.
    """

    name: str
    serving: str
    token_key: str
    listener: int
    control: int
    bytes_max: int = INFERENCE_BYTES_MAX
    rows_max: int = INFERENCE_ROWS_MAX
    segment_bytes_max: int = SEGMENT_BYTES_MAX
    connections_max: int = 4096


class RouteState(msgspec.Struct, kw_only=True):
    """What a worker says of one endpoint: the generation it answers from, and why it refused a newer snapshot."""

    generation: int
    loaded_at: int
    error: str = ""


class WorkerStatus(msgspec.Struct, kw_only=True):
    """The content of `worker-<name>.json`, rewritten when something changes."""

    name: str
    pid: int
    started_at: int
    ready: bool
    routes: dict[str, RouteState]


class Worker:
    """The process: watches snapshots, keeps endpoints, syncs logs."""

    def __init__(self, config: WorkerConfig) -> None:
        self.clock = SystemClock()
        self.endpoints: dict[str, ServedEndpoint] = {}
        self.application = Application(self, config.bytes_max)
        self.stop: Callable[[], None] = lambda: None
        self._config = config
        self._folder = Path(config.serving)
        self._forms = FormCache()
        self._seen: dict[str, tuple[int, int, int]] = {}
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._syncing: set[str] = set()
        self._pending: deque[Callable[[], None]] = deque()
        self._watcher: asyncio.Task[None] | None = None
        self._status = WorkerStatus(name=config.name, pid=os.getpid(), started_at=self.clock.now(), ready=False, routes={})

    @property
    def is_ready(self) -> bool:
        """Whether routes are loaded and the worker is not stopping."""
        return self._status.ready

    async def started(self) -> None:
        """Load what is on disk, then watch it."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._config.control, self._supervisor_gone)
        await self._load_changes()
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD)  # requests make no cycles worth looking for every few milliseconds
        self._status.ready = True
        await self._write_status()
        self._watcher = asyncio.create_task(self._watch())

    async def stopped(self) -> None:
        """Finish what was promised: companions, logs, status."""
        if self._watcher is not None:
            self._watcher.cancel()
        self._run_pending()
        self._threads.shutdown(wait=True)
        for name, endpoint in self.endpoints.items():
            try:
                endpoint.log.close()
            except OSError as error:
                self.complain("log not synced", endpoint=name, error=error)
        self._status.ready = False
        await self._write_status()

    def _supervisor_gone(self) -> None:
        self._loop.remove_reader(self._config.control)
        self.stop()

    def complain(self, event: str, **facts: object) -> None:
        """Write one line for operators."""
        line = {"time": self.clock.now(), "worker": self._config.name, "event": event, **{key: str(value) for key, value in facts.items()}}
        sys.stderr.write(msgspec.json.encode(line).decode() + "\n")
        sys.stderr.flush()

    def later(self, task: Callable[[], None]) -> None:
        """Do something in a later turn of the event loop; what is pending at the end is done before the logs close."""
        self._pending.append(task)
        if len(self._pending) == 1:
            self._loop.call_soon(self._run_pending)

    def _run_pending(self) -> None:
        for _task in range(len(self._pending)):
            self._pending.popleft()()

    def logged(self, endpoint: ServedEndpoint) -> None:
        """See to it that the endpoint's log is synced within five milliseconds."""
        name = endpoint.route.endpoint
        if endpoint.log.unsynced and name not in self._syncing:
            self._syncing.add(name)
            self._loop.call_later(_SYNC_SECONDS * 0.8, self._start_sync, name, endpoint.log)

    def _start_sync(self, name: str, log: LogWriter) -> None:
        def finished(future: asyncio.Future[None]) -> None:
            self._syncing.discard(name)
            if future.exception() is not None:
                log.mark_damaged()
                self.complain("log not synced", endpoint=name, error=future.exception())
            if name in self.endpoints:
                self.logged(self.endpoints[name])

        try:
            self._loop.run_in_executor(self._threads, log.sync).add_done_callback(finished)
        except RuntimeError:  # the pool is closed: `stopped` syncs
            self._syncing.discard(name)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            self.application.end_slow_bodies()
            try:
                if await self._load_changes():
                    await self._write_status()
            except OSError as error:  # a full disk or a folder that is gone for a moment; the routes in memory serve on
                self.complain("snapshots not watched", error=error)

    async def _load_changes(self) -> bool:
        """Load every snapshot that changed; a broken one leaves the old route in place, is reported, and is tried again."""
        changed = False
        for name, path in self._changed_snapshots():
            changed = True
            state = self._status.routes.setdefault(name, RouteState(generation=0, loaded_at=0))
            try:
                route = await self._loop.run_in_executor(self._loader, self._load, path)
                await self._install(name, route)
            except (GatelineError, OSError, ValueError) as error:
                if state.error != str(error):
                    state.error = str(error)
                    self.complain("route refused", endpoint=name, error=error)
                self._loop.call_later(_RETRY_SECONDS, self._seen.pop, path.name, None)
                continue
            state.generation, state.loaded_at, state.error = route.generation, self.clock.now(), ""
        return changed

    def _changed_snapshots(self) -> list[tuple[str, Path]]:
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.startswith(ROUTE_PREFIX) and entry.name.endswith(ROUTE_SUFFIX):
                    status = entry.stat()
                    mark = (status.st_mtime_ns, status.st_ino, status.st_size)
                    if self._seen.get(entry.name) != mark:
                        self._seen[entry.name] = mark
                        found.append((entry.name[len(ROUTE_PREFIX) : -len(ROUTE_SUFFIX)], Path(entry.path)))
        return found

    def _load(self, path: Path) -> LoadedRoute:
        """Read, verify, load and warm a route; runs in a thread beside requests."""
        document = read_route(path)
        return LoadedRoute(document, Path(self._config.token_key).read_bytes(), self._forms)

    async def _install(self, name: str, route: LoadedRoute) -> None:
        """Put a complete route in the place of the old one, by one assignment."""
        endpoint = self.endpoints.get(name)
        names = [one.name for one in route.features]
        if endpoint is not None and list(endpoint.log.features) == names:
            endpoint.switch(route)
        else:
            log = await self._loop.run_in_executor(self._loader, self._open_log, name, names)
            if endpoint is not None:
                await self._loop.run_in_executor(self._threads, endpoint.log.close)
            self.endpoints[name] = ServedEndpoint(route, log, self._config.rows_max)
        self._forms.keep({digest for one in self.endpoints.values() for digest in one.route.form_digests()})

    def _open_log(self, name: str, features: list[str]) -> LogWriter:
        return LogWriter(
            self._folder / "log" / name, endpoint=name, worker=self._config.name, features=features, created_at=self.clock.now(),
            segment_bytes_max=self._config.segment_bytes_max,
        )  # fmt: skip

    async def _write_status(self) -> None:
        content = msgspec.json.encode(self._status)
        path = self._folder / f"worker-{self._config.name}.json"
        try:
            await self._loop.run_in_executor(self._loader, _replace, path, content)
        except OSError as error:
            self.complain("status not written", error=error)


def _replace(path: Path, content: bytes) -> None:
    """Replace a file that may be lost with the machine but is never seen half-written."""
    temporary = path.with_suffix(".new")
    temporary.write_bytes(content)
    temporary.replace(path)


def _lock(config: WorkerConfig) -> int:
    """Take the worker's name; a predecessor that is still finishing gets some seconds.

    Raises:
        Conflict: another process keeps serving under this name.
    """
    descriptor = os.open(Path(config.serving) / f"worker-{config.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise Conflict(f"Another process serves as worker '{config.name}' in {config.serving}.") from error
            time.sleep(0.02)
        else:
            return descriptor


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(prog="gateline.serving.worker")
    parser.add_argument("--config", required=True, help="WorkerConfig as JSON")
    config = msgspec.json.decode(parser.parse_args(arguments).config, type=WorkerConfig)
    lock = _lock(config)
    worker = Worker(config)
    server = uvicorn.Server(
        uvicorn.Config(
            worker.application, loop="uvloop", http="httptools", ws="none", lifespan="on", interface="asgi3",
            log_config=None, access_log=False, server_header=False, date_header=False, proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=_DRAIN_SECONDS, limit_concurrency=config.connections_max,
            backlog=2048,
        )
    )  # fmt: skip

    def stop() -> None:
        server.should_exit = True

    worker.stop = stop
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # uvicorn catches it while it runs, and raises it again afterwards
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the terminal is for the supervisor, which then stops us in order
    server.run(sockets=[socket.socket(fileno=config.listener)])
    os.close(lock)
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
