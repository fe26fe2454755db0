"""uv for tests: the one that `scripts/bootstrap` pins, put on the PATH."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[2]


def put_uv_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the repository's own uv the first that is found; it is brought when it is not there."""
    subprocess.run([ROOT / "scripts" / "bootstrap"], check=True, capture_output=True, timeout=120)
    monkeypatch.setenv("PATH", f"{ROOT / '.tools'}:{os.environ['PATH']}")
