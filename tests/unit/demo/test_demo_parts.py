"""The smaller parts of the demo: processes, ports, memory, the account, the flipped byte."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import gateline.demo
from gateline.demo.chapters.evidence import flip_one_byte, flipped
from gateline.demo.memory import MemoryWatch, memory_bytes, process_tree
from gateline.demo.processes import Processes, free_port, wait_for
from gateline.demo.telling import Teller
from gateline.gates import parse_policy
from gateline.kernel.errors import StepFailed, Unavailable
from gateline.monitoring import plan_from_dict
from gateline.rollout import RolloutPlan

PROJECT = Path(gateline.demo.__path__[0]) / "project"


def test_a_taken_port_is_replaced_by_a_free_one():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) != port
    assert free_port("127.0.0.1", port) == port
    assert free_port("127.0.0.1", port, taken=[port]) != port


def test_children_are_stopped_in_order_and_their_output_is_kept(tmp_path):
    processes = Processes(tmp_path / "logs")
    child = processes.start("quick thing", ["json.tool", "--help"])
    child.process.wait(30)
    with pytest.raises(Unavailable, match="quick thing ended with exit code 0"):
        child.require_alive()
    assert "--compact" in child.tail()
    sleeping = processes.start("sleeper", ["http.server", "0", "--bind", "127.0.0.1"])
    assert processes.pids == [sleeping.process.pid]
    processes.stop()
    assert sleeping.process.returncode is not None
    assert processes.pids == []


def test_a_child_ends_when_its_parent_is_killed(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from gateline.demo.processes import Processes\n"
        f"child = Processes(Path({str(tmp_path)!r})).start('server', ['http.server', '0', '--bind', '127.0.0.1'])\n"
        "print(child.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    wait_for("the child's start", lambda: True if b"http.server" in cmdline(pid) and b"attached" not in cmdline(pid) else None, seconds=30)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_for("the child's end", lambda: True if not alive(pid) else None, seconds=30)


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def test_waiting_gives_up_with_what_was_waited_for():
    with pytest.raises(Unavailable, match="the moon"):
        wait_for("the moon", lambda: None, seconds=0.05, pause=0.01)


def test_memory_of_this_process_and_its_children_is_counted():
    own = memory_bytes(os.getpid())
    assert own > 10_000_000
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        wait_for("the child", lambda: True if memory_bytes(child.pid) > 1_000_000 else None, seconds=30)
        assert child.pid in process_tree(os.getpid())
        watch = MemoryWatch()
        assert watch.sample() > own / 2
        assert watch.peak_bytes > 0
        assert watch.processes >= 2
    finally:
        child.communicate(b"\n")
    assert memory_bytes(2**22 + 1) == 0


def test_the_account_is_plain_text_where_there_is_no_terminal():
    text = io.StringIO()
    teller = Teller(console=Console(file=text, highlight=False, soft_wrap=True, force_terminal=False))
    with teller.chapter(1, "Raw [tables]"), teller.progress(10, "busy") as bar:
        teller.say("336,776 rows [0.1, 0.2] are in", "ok")
        teller.more("digest")
        bar.advance(3, "x")
    told = text.getvalue()
    assert "\x1b" not in told
    assert "1. Raw [tables]" in told
    assert "✓ 336,776 rows [0.1, 0.2] are in" in told
    assert "chapter 1 took" in told
    assert teller.chapters[0].seconds >= 0


json_values = st.recursive(
    st.one_of(st.integers(-1000, 1000), st.text(max_size=8)),
    lambda inner: st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(value=st.dictionaries(st.sampled_from(["a", "digest"]), json_values, min_size=1))
def test_a_flipped_byte_changes_the_value_and_keeps_it_json(value):
    value["digest"] = "0af3"
    text = json.dumps(value)
    changed = flipped(text)
    assert len(changed) == len(text)
    assert sum(a != b for a, b in zip(text, changed, strict=True)) == 1
    assert json.loads(changed) != json.loads(text)


def test_flipping_a_byte_passes_the_triggers_of_the_copy():
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE ledger_entry (seq INTEGER PRIMARY KEY, kind TEXT, payload TEXT)")
    database.execute("CREATE TRIGGER refuse BEFORE UPDATE ON ledger_entry BEGIN SELECT RAISE(ABORT, 'append only'); END")
    rows = [(0, "a", '{"x":1}'), (1, "b", '{"y":"no"}'), (2, "b", '{"y":"go"}')]
    database.executemany("INSERT INTO ledger_entry VALUES (?, ?, ?)", rows)
    assert flip_one_byte(database, "b") == 2
    assert database.execute("SELECT payload FROM ledger_entry ORDER BY seq").fetchall() == [('{"x":1}',), ('{"y":"no"}',), ('{"y":"gn"}',)]
    with pytest.raises(StepFailed, match="no entry of kind c"):
        flip_one_byte(database, "c")
    database.close()


def test_the_projects_settings_are_what_the_platform_takes():
    settings = tomllib.loads((PROJECT / "gateline.toml").read_text(encoding="utf-8"))
    assert set(parse_policy(settings["gates"]).suite) == {"schema", "holdout", "slices", "latency"}
    assert RolloutPlan.from_dict(settings["rollout"]).steps == (0.1, 0.25, 0.5)
    assert plan_from_dict(settings["monitor"]).timezone == "America/New_York"
    assert settings["retraining"]["pipeline"] in settings["pipelines"]
