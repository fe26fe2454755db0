"""In a mount namespace of its own: the disk of the server, then that of the project, is full while steps run. Prints what was seen.

unshare --map-root-user --mount python -m tests.crash.pipelines.full_disk FOLDER
"""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import StorageFull
from gateline.sdk.client import Client
from gateline.sdk.project import Project
from gateline.sdk.running import Runner

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = '[project]\nname = "full"\n[pipelines]\none = "flows:one"\n'
FLOWS = """
import time
from pathlib import Path
from gateline import pipeline, step

FOLDER = Path({folder!r})


@step(cache=False)
def large(name: str) -> str:
    (FOLDER / f"{{name}}.began").touch()
    while not (FOLDER / f"{{name}}.go").exists():
        time.sleep(0.02)
    return name * 100_000


@pipeline
def one(name: str):
    return large(name)
"""
PIECE = b"x" * 65_536


class Disk:
    """A small file system that can be filled and freed."""

    def __init__(self, path: Path, size: str) -> None:
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
        self.path = path

    def fill(self) -> None:
        """Leave not a byte."""
        for piece in (PIECE, b"x"):
            try:
                with (self.path / f"ballast-{len(piece)}").open("ab", buffering=0) as file:
                    while True:
                        file.write(piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Give the space back."""
        for path in self.path.glob("ballast-*"):
            path.unlink()


def until(probe: Callable[[], Any], seconds: float = 60) -> Any:
    """Return the first true value."""
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)
    return found


def main(folder: Path) -> None:
    """Tell what became of a run on each full disk, and of the one after it."""
    records, project = Disk(folder / "home-disk", "48m"), Disk(folder / "project-disk", "8m")
    (project.path / "gateline.toml").write_text(SETTINGS)
    (project.path / "flows.py").write_text(FLOWS.format(folder=str(folder)))
    client = Client(home=records.path / "home")
    runner = Runner(client, Project.load(project.path), cpus=1)
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    seen: dict[str, Any] = {}

    def ask(name: str) -> str:
        return str(client.post("/pipelines/one/runs", json={"parameters": {"name": name}})["id"])

    def over(run_id: str) -> dict[str, Any]:
        run = until(lambda: (found := client.get(f"/pipeline-runs/{run_id}"))["over"] and found)
        return {"state": run["state"], "failure": run["failure"], "alive": thread.is_alive()}

    for name, disk in (("server", records), ("project", project)):
        run_id = ask(name)
        until(lambda name=name: (folder / f"{name}.began").exists())
        disk.fill()
        (folder / f"{name}.go").touch()
        time.sleep(3)
        if disk is records:
            try:
                ask("refused")
            except StorageFull as error:
                seen["refused"] = error.message
            disk.free()
        seen[name] = over(run_id)
        if disk is project:
            (folder / "begun-full.go").touch()
            seen["begun full"] = over(ask("begun-full"))
            disk.free()
        (folder / f"after-{name}.go").touch()
        seen[f"after {name}"] = over(ask(f"after-{name}"))
    runner.stop()
    thread.join(30)
    client.close()
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
