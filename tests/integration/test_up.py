"""The server as a process: it starts once per folder, says what is in its way, and ends in order."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateline.local import find_holder
from gateline.sdk.client import Client

STOP_SECONDS_MAX = 60.0  # a loaded machine; bench/ measures the real time


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATELINE_")}
    return {**kept, "GATELINE_HOME": str(home), "GATELINE_MLFLOW": "false", "GATELINE_WORKERS": "0", "GATELINE_SERVING_PORT": "0"}


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Start `gateline up` and return the process when it says that it serves."""
    processes: list[subprocess.Popen[str]] = []

    def run(*options: str, folder: Path = home) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "gateline", "up", "--port", "0", *options]
        process = subprocess.Popen(command, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Gateline serves http://127.0.0.1:")
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def refused(home: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", "gateline", "up", *options], env=environment(home), capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(start: Start, home: Path, number: signal.Signals) -> None:
    process = start()
    holder = find_holder(home)
    assert holder is not None
    assert holder.pid == process.pid
    with Client(home=home) as client:
        assert not client.in_process
        assert client.url == holder.url
        assert client.get("/principals/me")["name"] == "owner"
        assert json.loads((home / "server.json").read_text()) == {"url": client.url, "pid": process.pid}
        process.send_signal(number)  # while a connection is open
        assert process.wait(STOP_SECONDS_MAX) == 0
    assert find_holder(home) is None
    assert not (home / "server.json").exists()


def test_a_second_server_on_the_folder_is_refused_by_pid(start: Start, home: Path) -> None:
    process = start()
    status, message = refused(home, "--port", "0")
    assert status == 1
    assert f"Process {process.pid} already serves {home} at http://127.0.0.1:" in message
    assert "Traceback" not in message


def test_a_port_in_use_is_named_and_the_folder_is_left_free(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, message = refused(home, "--port", str(port))
    assert status == 1
    assert f"Port {port} on 127.0.0.1 is in use" in message
    assert "--port N" in message
    assert "Traceback" not in message
    assert find_holder(home) is None


def test_a_killed_server_leaves_nothing_in_the_way_and_loses_nothing(start: Start, home: Path) -> None:
    first = start()
    with Client(home=home) as client:
        client.post("/principals", json={"name": "kept", "roles": ["viewer"]})
    first.kill()
    first.wait()
    start()
    with Client(home=home) as client:
        assert "kept" in {one["name"] for one in client.get("/principals")}
        assert client.post("/ledger/verify")["sound"]


def test_two_folders_are_served_side_by_side(start: Start, home: Path, tmp_path: Path) -> None:
    start()
    other = tmp_path / "a folder with spaces"
    start(folder=other)
    holders = [find_holder(home), find_holder(other)]
    assert all(holders)
    assert len({holder.url for holder in holders if holder}) == 2


def test_a_signal_while_it_starts_ends_it_too(home: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "gateline", "up", "--port", "0"],
        env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while find_holder(home) is None and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=STOP_SECONDS_MAX)
    assert process.returncode in {0, -signal.SIGTERM}
    assert find_holder(home) is None
