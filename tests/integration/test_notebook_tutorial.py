"""The tutorial from a notebook to a scheduled pipeline: each command is run as it stands, and says what the page shows."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
PAGE = (TUTORIALS / "notebook-to-pipeline.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(console|toml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_RUN = re.compile(r"prun_\w+")
IN_THE_BACKGROUND = {"gateline up": "Gateline serves", "gateline runner": "waits for runs"}
WAIT_SECONDS_MAX = 240.0


class Terminal:
    """A folder, and what runs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        binaries = folder / "bin"
        binaries.mkdir()
        for name, words in (("gateline", "-m gateline"), ("python", "")):
            shim = binaries / name
            shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n', encoding="utf-8")
            shim.chmod(0o755)
        settings = {"MLFLOW": "false", "PORT": "0", "SERVING_PORT": "0", "WORKERS": "0"}
        self._variables = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        self._variables |= {f"GATELINE_{name}": value for name, value in settings.items()}
        self.background: dict[str, subprocess.Popen[bytes]] = {}
        self.run_id = ""

    def run(self, command: str) -> str:
        """Run a command, and return what it says."""
        if command.startswith("cd "):
            self.folder /= command.removeprefix("cd ")
            return ""
        command = command.replace(" RUN", f" {self.run_id}")
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self._variables, capture_output=True, text=True, timeout=WAIT_SECONDS_MAX
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def start(self, command: str, ready: str) -> str:
        """Start a command that stays, and return what it says when it is ready."""
        path = self.folder / f"{command.replace(' ', '-')}.log"
        with path.open("wb") as log:
            self.background[command] = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self.folder, env=self._variables, stdout=log, stderr=log
            )
        return self.until(lambda: ready in path.read_text(encoding="utf-8") and path.read_text(encoding="utf-8"))

    def interrupt(self, command: str) -> None:
        """Press Ctrl-C."""
        process = self.background.pop(command)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0

    @staticmethod
    def until(probe: object) -> str:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not (found := probe()):  # type: ignore[operator]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return str(found)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    shutil.copy(TUTORIALS / "delays.ipynb", tmp_path)
    yield made
    for process in made.background.values():
        process.terminate()
        process.wait(60)


def shows(said: str, line: str, known: str) -> bool:
    """Whether a line of the page is said; `…` stands for anything, RUN for the run."""
    words = [re.escape(word).replace("…", ".*").replace("RUN", known) for word in line.split()]
    wanted = r"[ ]+".join(words)
    return re.search(wanted, said) is not None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_command_of_the_tutorial_does_what_the_page_says(terminal: Terminal) -> None:
    for kind, block in _BLOCK.findall(PAGE):
        if kind == "toml":
            (terminal.folder / "gateline.toml").write_text(block, encoding="utf-8")
            continue
        commands = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
        assert commands
        for one in commands:
            command, *lines = one.rstrip("\n").split("\n")
            known = terminal.run_id
            if command in IN_THE_BACKGROUND:
                said = terminal.start(command, IN_THE_BACKGROUND[command])
            elif command == "gateline pipeline list":
                said = terminal.until(
                    lambda line=lines[0]: (found := terminal.run("gateline pipeline list")) and shows(found, line, "") and found
                )
            else:
                if "--no-follow" in command:
                    terminal.interrupt("gateline runner")
                said = terminal.run(command)
                terminal.run_id = (_RUN.findall(said) or [known])[0]
            assert [line for line in lines if not shows(said, line, known)] == [], f"{command}\n{said}"


def test_the_page_names_the_whole_way() -> None:
    for verb in (
        "notebook check",
        "init --from-notebook",
        "run delays",
        "pipeline apply",
        "schedule show",
        "pipeline cancel",
        "pipeline retry",
    ):
        assert f"$ gateline {verb}" in PAGE or f"$ gateline pipeline {verb}" in PAGE
