"""What a step writes: all of it while it is little, head and tail of much, and pieces for those who follow."""

from __future__ import annotations

import codecs
import threading

KEPT_BYTES = 448 << 10
_PENDING_BYTES = 128 << 10


class Output:
    """Collects what a step writes to standard output and error, in bounded memory.

    Callers may rely on: up to twice `kept_bytes` nothing is lost; of more, the first and the last `kept_bytes` stay, and the text says how
    much is missing between them. Safe to use from two threads.

    Args:
        kept_bytes: How much of head and tail is kept.
        pending_bytes: How much of head and tail of what nobody has taken yet is kept.
    """

    def __init__(self, *, kept_bytes: int = KEPT_BYTES, pending_bytes: int = _PENDING_BYTES) -> None:
        self._whole = _Bounded(kept_bytes)
        self._pending_bytes = pending_bytes
        self._pending = _Bounded(pending_bytes)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._taken = 0
        self._lock = threading.Lock()

    def write(self, content: bytes) -> None:
        """Add what was written."""
        with self._lock:
            self._whole.add(content)
            self._pending.add(content)

    def take(self) -> tuple[int, str]:
        """Return what was written since the last call, and its position in all that was taken; much is cut."""
        with self._lock:
            text = self._decoder.decode(self._pending.content())
            self._pending = _Bounded(self._pending_bytes)
            position, self._taken = self._taken, self._taken + len(text)
            return position, text

    def text(self) -> str:
        """Return all of it, or head and tail. NUL, which no database keeps in text, is shown as its picture."""
        with self._lock:
            return self._whole.content().decode(errors="replace")


class _Bounded:
    """Bytes, of which head and tail are kept."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0

    def add(self, content: bytes) -> None:
        self._size += len(content)
        room = self._kept - len(self._head)
        self._head += content[:room]
        self._tail += content[max(0, room) :]
        if len(self._tail) > 2 * self._kept:
            del self._tail[: -self._kept]

    def content(self) -> bytes:
        tail = bytes(self._tail[-self._kept :])
        missing = self._size - len(self._head) - len(tail)
        note = f"\n[… {missing:,} bytes are left out …]\n".encode() if missing else b""
        return bytes(self._head).replace(b"\0", b"\\0") + note + tail.replace(b"\0", b"\\0")
