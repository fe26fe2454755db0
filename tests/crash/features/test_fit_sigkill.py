"""A process is killed while it records a fit: nothing half-written stays, and the next one makes the fit that it would have made."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.features.online.conftest import FITTED, opened

ROOT = Path(__file__).resolve().parents[3]

# Kills itself just before one call of one function: argv = home, owner of the function, its name, which call.
KILLED = """
import os, signal, sys
from pathlib import Path
from gateline.kernel.clock import HOUR, SimulatedClock
from gateline.kernel.records import Records
from gateline.ledger import Ledger, SigningKey
from gateline.ledger.service import Transaction
from gateline.features.records import fits
from gateline.lineage import Lineage
from tests.unit.features.online.conftest import Shop

home, owner, name, call = Path(sys.argv[1]), globals()[sys.argv[2]], sys.argv[3], int(sys.argv[4])
calls, real = [], getattr(owner, name)

def step(*arguments, **named):
    calls.append(1)
    if len(calls) == call:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **named)

setattr(owner, name, step)
ledger = Ledger(Records(f"sqlite:///{home / 'only.db'}"), SimulatedClock(), SigningKey.load_or_create(home / "keys"))
Shop(ledger, home).fits.fit("trainer", "shopping")
"""


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [("fits", "add", 1), ("Transaction", "record", 1), ("Lineage", "link", 1), ("Lineage", "link", 4), ("Transaction", "close", 1)],
)
def test_a_fit_that_was_killed_leaves_nothing_and_is_made_again_as_it_was(sqlite_ledger, home, owner, name, call):
    shop = opened(sqlite_ledger, home)
    shop.feature_sets.register("developer", FITTED)
    size = sqlite_ledger.size()
    command = [sys.executable, "-c", KILLED, str(home), owner, name, str(call)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert shop.fits.list("shopping") == []
    assert sqlite_ledger.size() == size
    found = shop.fits.fit("trainer", "shopping")
    assert found.number == 1
    assert shop.fits.verify(found.id) == found
    assert sqlite_ledger.verify().sound
    shop.store.close()
