"""What each measured process prints as its last line. Needs the standard library only: it also runs in the environments of peers."""

from __future__ import annotations

import json
import os
import resource
from typing import Any


def report(**found: Any) -> None:
    """Print the measurements, the peak of resident memory so far in MiB (unless it is among them) and the load of the machine."""
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peak_mib": round(peak_mib, 1), **found, "load": round(os.getloadavg()[0], 2)}), flush=True)
