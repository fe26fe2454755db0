"""What each measured process prints as its last line: seconds of the computation and peak memory of the process."""

from __future__ import annotations

import json
import resource


def report(seconds: float) -> None:
    """Print seconds and the peak of resident memory so far, in MiB."""
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": round(peak_mib, 1)}))
