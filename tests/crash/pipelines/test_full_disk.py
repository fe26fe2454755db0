"""A disk without space costs a step at most, never the runner or the records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_a_full_disk_during_a_run_has_a_defined_end_and_the_next_run_succeeds(tmp_path: Path) -> None:
    variables = {**os.environ, "GATELINE_MLFLOW": "false"}
    command = ["unshare", "--map-root-user", "--mount", sys.executable, "-m", "tests.crash.pipelines.full_disk", str(tmp_path)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert "no space left" in seen["refused"]
    for name in ("server", "project", "begun full"):
        assert seen[name]["state"] == "failed", seen
        assert "space" in seen[name]["failure"]
        assert "free" in seen[name]["failure"].lower()
        assert seen[name]["alive"]
    assert seen["after server"] == seen["after project"] == {"state": "succeeded", "failure": "", "alive": True}
