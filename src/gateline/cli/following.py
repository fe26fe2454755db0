"""How a run is told while it goes on: lines, and on a terminal a bar below them."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from gateline.cli.output import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateline.sdk.client import Client

_POLL_SECONDS = 0.5
_BAR_CHARACTERS = 24
_DONE = {"succeeded", "skipped"}
_OVER = {"succeeded", "skipped", "failed", "cancelled"}


class Teller:
    """Writes what happens to standard error; safe to use from several threads."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._lock = threading.Lock()
        self._bar = ""
        self._unfinished: dict[str, bytes] = {}

    def event(self, event: str, facts: Mapping[str, Any]) -> None:
        """Tell what a runner says of a step: that it has begun, what it writes, how it ended."""
        name = _name(facts["node"]["name"], facts["index"] if "over" in facts["node"] else -1)
        if event == "output":
            *lines, rest = (self._unfinished.pop(name, b"") + facts["content"]).split(b"\n")
            self._unfinished[name] = rest[-10_000:]
            self.lines([f"[{name}] {line.decode(errors='replace')}" for line in lines])
        elif event == "begun":
            again = f" (attempt {facts['attempt']})" if facts["attempt"] > 1 else ""
            self.lines([f"[{name}] begins{again}"])
        else:
            rest = self._unfinished.pop(name, b"")
            detail = f": {facts['detail']}" if facts["detail"] else ""
            self.lines([*([f"[{name}] {rest.decode(errors='replace')}"] if rest else []), f"[{name}] {facts['outcome']}{detail}"])

    def lines(self, lines: list[str]) -> None:
        """Write lines above the bar."""
        with self._lock:
            clear = "\r\x1b[K" if self._bar else ""
            sys.stderr.write(clear + "".join(f"{line}\n" for line in lines) + self._bar)
            sys.stderr.flush()

    def show(self, run: Mapping[str, Any]) -> None:
        """Draw the bar of a run on a terminal; when it is over, take it away."""
        if not self._terminal:
            return
        with self._lock:
            self._bar = "" if run["over"] else bar(run)
            sys.stderr.write(f"\r\x1b[K{self._bar}")
            sys.stderr.flush()


def bar(run: Mapping[str, Any]) -> str:
    """Return a line that shows how far a run is.

    >>> steps = [
    ...     {"name": "a", "index": 0, "width": None, "state": "succeeded"},
    ...     {"name": "b", "index": 0, "width": None, "state": "running"},
    ... ]
    >>> bar({"state": "running", "steps": steps})
    '[############------------] 1/2 steps, running: b'
    """
    steps = [step for step in run["steps"] if step["width"] is None]
    done = sum(1 for step in steps if step["state"] in _DONE)
    filled = _BAR_CHARACTERS * done // max(1, len(steps))
    names = [step["name"] for step in steps if step["state"] == "running"]
    busy = f"running: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}" if names else run["state"]
    return f"[{'#' * filled}{'-' * (_BAR_CHARACTERS - filled)}] {done}/{len(steps)} steps, {busy}"


def follow(api: Client, run_id: str, teller: Teller, *, stop: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Tell of the steps of a run as they change, until it is over or `stop` says so; returns the run."""
    seen: dict[str, tuple[str, int]] = {}
    while True:
        run: dict[str, Any] = api.get(f"/pipeline-runs/{run_id}")
        for step in run["steps"]:
            now = (step["state"], step["attempts"])
            if step["width"] is None and seen.get(step["name"], ("waiting", 0)) != now and step["state"] not in {"waiting", "ready"}:
                teller.lines([f"[{step['name']}] {step['state']}{_how(step)}"])
            seen[step["name"]] = now
        teller.show(run)
        if run["over"] or stop(run):
            return run
        time.sleep(_POLL_SECONDS)


def follow_output(api: Client, run_id: str, node: str, index: int, *, wait: bool) -> None:
    """Write what a step has written to standard output, and what it still writes when `wait` is set."""
    offset, attempt = 0, 0
    while True:
        found = api.get(f"/pipeline-runs/{run_id}/steps/{node}/output", params={"index": index, "offset": offset})
        if found["attempt"] != attempt:
            if attempt:
                progress(f"[{node}] attempt {found['attempt']}")
            attempt, offset = found["attempt"], 0
            found = api.get(f"/pipeline-runs/{run_id}/steps/{node}/output", params={"index": index})
        sys.stdout.write(found["text"])
        sys.stdout.flush()
        offset = found["offset"]
        if not wait or (found["over"] and _is_over(api, run_id, node, index)):
            return
        time.sleep(_POLL_SECONDS)


def story(found: Mapping[str, Any]) -> str:
    """Return a run in words: each step with its time, or the run it was reused from."""
    lines = [f"{found['pipeline']} {found['id']}: {found['state']} {found['failure']}".rstrip()]
    lines += [f"  waits: {found['held']}"] if found["held"] else []
    for step in found["steps"]:
        if step["width"] is None:
            lines.append(f"  {step['name']:<24} {step['state']:<10}{_how(step)}".rstrip())
        else:
            lines.append(f"  {step['name']:<24} {step['state']:<10} {step['width']} items")
    if found["result"]:
        lines.append(json.dumps(found["result"], indent=2, ensure_ascii=False))
    return "\n".join(lines)


def _how(step: Mapping[str, Any]) -> str:
    """Return how long a step took, or where its result came from."""
    if step["reused_from"]:
        return f" reused from {step['reused_from']}"
    if step["failure"]:
        return f" {step['failure']}"
    if step["job"]:
        return f" as {step['job']}"
    if step["state"] not in _OVER or not step["attempts"]:
        return ""
    again = f", {step['attempts']} attempts" if step["attempts"] > 1 else ""
    return f" {(step['ended_at'] - step['started_at']) / 1e6:.2f} s{again}"


def _is_over(api: Client, run_id: str, node: str, index: int) -> bool:
    run = api.get(f"/pipeline-runs/{run_id}")
    states = [step["state"] for step in run["steps"] if step["node"] == node and step["index"] == index]
    return bool(run["over"]) or any(state in _OVER for state in states)


def _name(node: str, index: int) -> str:
    return node if index < 0 else f"{node}[{index}]"
