"""What each measured process prints as its last line."""

from __future__ import annotations

import json
import os


def report(found: dict[str, float]) -> None:
    """Print the measurements with the load of the machine."""
    print(json.dumps({**{name: round(value, 4) for name, value in found.items()}, "load": round(os.getloadavg()[0], 2)}))
