"""One server per folder; a dead one holds nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateline.kernel.errors import Conflict
from gateline.local import ServerLock, find_holder

HOLD = """
import sys, time
from pathlib import Path
from gateline.local.holding import ServerLock
lock = ServerLock(Path(sys.argv[1]))
lock.announce("http://127.0.0.1:1234")
print("held", flush=True)
time.sleep(60)
"""


def hold(home: Path) -> subprocess.Popen[str]:
    """Let another process hold the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(home)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_nobody_holds_a_fresh_or_missing_folder(home: Path) -> None:
    assert find_holder(home) is None
    assert find_holder(home / "missing") is None


def test_the_second_server_is_told_who_the_first_is(tmp_path: Path) -> None:
    home = tmp_path / "with a space"
    process = hold(home)
    try:
        with pytest.raises(Conflict) as caught:
            ServerLock(home)
        assert f"Process {process.pid} already serves {home} at http://127.0.0.1:1234" in caught.value.message
        assert f"kill {process.pid}" in caught.value.next_step
        holder = find_holder(home)
        assert holder is not None
        assert (holder.pid, holder.url) == (process.pid, "http://127.0.0.1:1234")
    finally:
        process.kill()
        process.communicate()


def test_a_lock_whose_holder_was_killed_is_taken_over(home: Path) -> None:
    process = hold(home)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (home / "server.lock").exists()
    assert find_holder(home) is None
    with ServerLock(home):
        assert not (home / "server.json").exists()
        holder = find_holder(home)
        assert holder is not None
        assert (holder.pid, holder.url) == (os.getpid(), "")
    assert find_holder(home) is None


def test_the_note_says_where_and_goes_with_the_lock(home: Path) -> None:
    lock = ServerLock(home)
    lock.announce("http://127.0.0.1:1")
    assert json.loads((home / "server.json").read_text()) == {"url": "http://127.0.0.1:1", "pid": os.getpid()}
    lock.release()
    lock.release()
    assert not (home / "server.json").exists()


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}"])
def test_a_damaged_note_names_no_address(home: Path, damage: str) -> None:
    with ServerLock(home):
        (home / "server.json").write_text(damage)
        holder = find_holder(home)
        assert holder is not None
        assert holder.url == ""
