"""A process is killed at each point of a registration: a pass of the reconciler finishes it, and nothing is registered twice."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("child.py")
ROOT = CHILD.parents[3]


@pytest.fixture(scope="module")
def found(tmp_path_factory, sqlite_template):
    """What stood after each death, and after the reconciler."""
    home = tmp_path_factory.mktemp("home")
    shutil.copyfile(sqlite_template, home / "records.db")
    done = subprocess.run([sys.executable, str(CHILD), str(home)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


STOCK = [
    ("before the source", {"versions": [False], "created": [0], "told": []}),
    ("before the ledger entry", {"versions": [True], "created": [0], "told": []}),
    ("before the ledger entry is committed", {"versions": [True], "created": [0], "told": []}),
    ("before the model is told", {"versions": [True], "created": [1], "told": []}),
]


@pytest.mark.parametrize(("point", "left"), STOCK)
def test_a_stock_clients_registration_that_was_killed_is_made_whole_and_its_run_frozen(found, point, left):
    one = found["points"][point]
    assert one["signal"] == signal.SIGKILL
    assert {key: one["left"][key] for key in left} == left
    assert not one["left"]["frozen"]
    now = one["now"]
    assert (now["versions"], now["created"], now["frozen"], now["frozen_entries"]) == ([True], [1], True, 1)
    assert len(now["told"]) == 1


def test_a_freeze_that_was_killed_is_done_again_once(found):
    assert found["points"]["before the model is told"]["second"] == signal.SIGKILL


def test_a_whole_registration_is_left_as_it_is_and_its_run_frozen(found):
    one = found["points"]["not at all"]
    assert one["signal"] == 0
    assert one["now"] == {**one["left"], "frozen": True, "frozen_entries": 1}


@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("projected before the source", {"versions": [False], "told": [], "tags": [{}]}),
        ("projected before the model is told", {"versions": [True], "told": [], "tags": [{}]}),
        ("projected before the tag", {"versions": [True], "tags": [{}]}),
    ],
)
def test_a_version_of_ours_that_mlflow_half_shows_is_shown_once_and_whole(found, point, left):
    one = found["points"][point]
    assert one["signal"] == signal.SIGKILL
    assert {key: one["left"][key] for key in left} == left
    now = one["now"]
    assert (now["versions"], now["created"], len(now["told"])) == ([True], [1], 1)
    assert [tags["gateline.model_version"] for tags in now["tags"]] == [f"{now['told'][0][0]}@1"]


def test_the_ledger_is_sound_after_all_of_it(found):
    assert found["sound"]
