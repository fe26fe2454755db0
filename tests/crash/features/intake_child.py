"""What is killed: a process that pushes payments into the dataset and online, and says which batches it has acknowledged.

Arguments: home folder, number of the first batch, and optionally owner and name of a function before whose call, of that batch, it kills
itself. `Taken` stands for the moment when both sides have the batch and nobody has been told.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from gateline.data import batches
from gateline.features import OnlineFeatures, SqliteOnlineStore
from gateline.kernel.clock import HOUR, SimulatedClock
from gateline.kernel.records import Records
from gateline.ledger import Ledger, SigningKey
from tests.unit.features.online.conftest import SENDER, FedShop, payment

BATCH_ROWS = 5
OWNERS = {"batches": batches, "OnlineFeatures": OnlineFeatures, "SqliteOnlineStore": SqliteOnlineStore}


def opened(home: Path) -> FedShop:
    """Return the shop of a folder at noon."""
    ledger = Ledger(Records(f"sqlite:///{home / 'only.db'}"), SimulatedClock(), SigningKey.load_or_create(home / "keys"))
    ledger.clock.advance(12 * HOUR / 1_000_000)
    return FedShop(ledger, home)


def batch(number: int) -> list[dict[str, object]]:
    """Return the rows of a batch: all shops, within the last half hour."""
    places = range(number * BATCH_ROWS, (number + 1) * BATCH_ROWS)
    return [payment(100 + place, f"11:{30 + place % 30}", place % 1000 + 1, shop="abc"[place % 3]) for place in places]


def kill_at(owner: str, name: str) -> None:
    """Let the next call of a function be the end of this process."""

    def end(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(OWNERS[owner], name, end)


def main() -> None:
    shop, number = opened(Path(sys.argv[1])), int(sys.argv[2])
    if sys.argv[3:] and sys.argv[3] != "Taken":
        kill_at(*sys.argv[3:5])
    while True:
        shop.intake.push(SENDER, "payments", batch(number))
        if sys.argv[3:]:
            os.kill(os.getpid(), signal.SIGKILL)
        print(number, flush=True)
        number += 1


if __name__ == "__main__":
    main()
