"""Counting distinct values with bounded memory: exact while few, an estimate from the smallest hashes beyond.

A sketch is the list of the `KEPT` smallest distinct hashes, ascending. Sketches of two samples merge by keeping the smallest of both, so
that tiles can be kept for each hour and merged for a window. Source of the estimate: Beyer and others, "On synopses for distinct-value
estimation under multiset operations", SIGMOD 2007: (k - 1) / U(k), whose relative standard error is about 1 / sqrt(k - 2).
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXACT_MAX = 256
KEPT = EXACT_MAX + 1
_HASHES = 1 << 64


def hashed(value: float | str | bool) -> int:
    """Return the 64-bit hash of a value, the same in every process and engine; -0.0 and 0.0 are one value.

    >>> hashed("a") == hashed("a") != hashed("b"), hashed(-0.0) == hashed(0.0), hashed(1) == hashed(1.0)
    (True, True, False)
    """
    if isinstance(value, bool):
        content = b"b1" if value else b"b0"
    elif isinstance(value, int):
        content = b"i" + value.to_bytes(8, "little", signed=True)
    elif isinstance(value, float):
        content = b"f" + struct.pack("<d", value + 0.0)
    else:
        content = b"s" + value.encode()
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")


def distinct_count(smallest: Sequence[int]) -> int:
    """Return how many distinct values a sketch has seen: exact up to 256, else an estimate with about 6 % standard error.

    Args:
        smallest: The smallest distinct hashes, ascending: all of them, or at least 257.

    >>> distinct_count([]), distinct_count([7, 8]), distinct_count([place << 54 for place in range(257)])
    (0, 2, 1024)
    """
    if len(smallest) <= EXACT_MAX:
        return len(smallest)
    threshold = smallest[EXACT_MAX - 1] + 1
    return ((EXACT_MAX - 1) * _HASHES + threshold // 2) // threshold
