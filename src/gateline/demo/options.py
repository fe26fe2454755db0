"""What the user of the demo may choose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

REQUESTS = 60_000
REQUESTS_FAST = 12_000
SHORT_PLAN: dict[str, Any] = {"steps": [0.25, 0.5], "step_requests_min": 80, "step_labels_min": 50}
"""How versions are let in where requests are few: larger shares, so that a canary ends within weeks."""
_FEW_REQUESTS = 30_000


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

    @property
    def plan(self) -> dict[str, Any]:
        """What replaces fields of the project's rollout plan."""
        return SHORT_PLAN if self.requests is not None and self.requests < _FEW_REQUESTS else {}
