"""The seed of a step reaches every generator that it names."""

from __future__ import annotations

import subprocess
import sys

LATE = """
from gateline.sdk import execution
execution._seed(7)
import random
import numpy
print(numpy.random.rand(), random.random())
"""


def test_numpy_is_seeded_also_when_the_step_imports_it_only_later() -> None:
    said = {subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(said) == 1
