"""The demo as a user starts it: real processes, real flights, a tenth of the requests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STORY_SECONDS = 800


def command(home: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "gateline", "demo", "--home", str(home), "--fast", *options]


def processes_of(home: Path) -> list[int]:
    """Ids of running processes that name this folder."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                line = (path / "cmdline").read_bytes()
            except OSError:
                continue
            if str(home).encode() in line and int(path.name) != os.getpid():
                found.append(int(path.name))
    return found


def wait_for_line(process: subprocess.Popen[str], words: str, log: list[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        log.append(line)
        if words in line:
            return
    raise AssertionError("".join(log[-40:]))


def test_the_whole_story_is_told_and_every_invariant_holds(tmp_path):
    home = tmp_path / "a home with spaces"
    done = subprocess.run(
        [*command(home, "--exit", "--seed", "1"), "--json"],
        capture_output=True,
        text=True,
        timeout=STORY_SECONDS,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    figures = json.loads(done.stdout)
    assert [one["number"] for one in figures["chapters"]] == list(range(1, 10))
    assert figures["requests"] == 12_000
    assert 0 < figures["labels"] < figures["requests"]
    assert figures["online"]["rows"] > 80_000
    assert figures["online"]["values_compared"] >= 15
    assert figures["detection"]["fault"] == "swapped columns"
    assert 0 < figures["detection"]["canary_requests"] < figures["detection"]["requests"] <= figures["requests"]
    assert set(figures["verdicts"]) <= {"pass", "inconclusive", "fail"}
    assert figures["memory_peak_bytes"] > 100e6
    assert "one byte of entry" in done.stderr
    assert "403 PERMISSION_DENIED" in done.stderr
    assert "separation-of-duties" in done.stderr
    assert processes_of(home) == []


def test_an_interrupted_demo_started_again_tells_its_story_and_stays_until_it_is_stopped(tmp_path):
    home = tmp_path / "home"
    first = subprocess.Popen(command(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
    told: list[str] = []
    wait_for_line(first, "2. Features", told)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert first.returncode == 130
    assert processes_of(home) == []

    second = subprocess.Popen(command(home, "--seed", "4"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
    told = []
    try:
        wait_for_line(second, "the server stays at", told)
        url = json.loads((home / "server.json").read_text(encoding="utf-8"))["url"]
        with urllib.request.urlopen(f"{url}/api/v1/health", timeout=10) as answer:
            assert json.load(answer)["status"] == "ok"
        assert (home / "demo-tokens.json").stat().st_mode & 0o077 == 0
    finally:
        second.send_signal(signal.SIGINT)
        rest, _ = second.communicate(timeout=60)
    assert second.returncode == 0, "".join(told[-20:]) + rest
    deadline = time.monotonic() + 20
    while processes_of(home) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(home) == []


def test_a_second_demo_on_the_same_folder_is_refused_with_one_clear_sentence(tmp_path):
    home = tmp_path / "home"
    first = subprocess.Popen(command(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
    try:
        wait_for_line(first, "1. The raw tables", [])
        other = subprocess.run(command(home, "--exit"), capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
        assert other.returncode == 1
        assert "Another demo runs in" in other.stderr
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
