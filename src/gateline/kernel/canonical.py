"""Canonical bytes: the one encoding that digests and signatures are taken of.

JSON with sorted keys, no blanks, UTF-8 unescaped, finite numbers only. Equal values give equal bytes on every machine.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK_BYTES = 1 << 20


def canonical_bytes(value: Any) -> bytes:
    """Return the canonical encoding of a JSON-able value.

    >>> canonical_bytes({"b": 1, "a": [0.5, "é"]})
    b'{"a":[0.5,"\\xc3\\xa9"],"b":1}'

    Raises:
        InvalidInput: the value holds NaN, an infinity, or something JSON cannot carry.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"The value cannot be encoded canonically: {error}.") from error
    return text.encode()


def digest(domain: str, value: Any) -> str:
    """Return the hex SHA-256 of a value under a domain, so that equal bytes of different kinds never share a digest.

    >>> digest("a", 1) == digest("b", 1)
    False
    """
    return hashlib.sha256(b"gateline:" + domain.encode() + b"\x00" + canonical_bytes(value)).hexdigest()


def number(value: float) -> float | str:
    """Return a finite number as it is, and any other as text that `float` reads back.

    >>> number(0.5), number(float("nan")), number(float("-inf"))
    (0.5, 'nan', '-inf')
    """
    return value if math.isfinite(value) else str(value)


def sha256_bytes(content: bytes) -> str:
    """Return the hex SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file, read in pieces of 1 MiB."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            state.update(chunk)
    return state.hexdigest()
