"""What the user of the demo may choose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REQUESTS = 60_000
REQUESTS_FAST = 6_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The choices.

    Attributes:
        home: Folder of the installation; records of earlier tellings stay in it.
        seed: Chooses fault class and sample.
        requests: Number of replayed requests; None replays every flight.
        port: Port of the control plane, when it is free.
        serving_port: Port of the inference workers, when it is free.
        leave: Whether to end after the story, in place of leaving the server running.
    """

    home: Path
    seed: int = 1
    requests: int | None = REQUESTS
    port: int = 8200
    serving_port: int = 8201
    leave: bool = False
