"""What a piece of work used: time, processor, memory, bytes moved, and what that costs. Read from the operating system, not estimated.

Everything counts for the whole process and for the child processes it has waited for: threads of other work in the same process are in it.
"""

from __future__ import annotations

import os
import sys
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "resources."
_STATUS = Path("/proc/self/status")
_IO = Path("/proc/self/io")
_RESET_PEAK = Path("/proc/self/clear_refs")
_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What an hour of this machine costs; `[resources]` in gateline.toml declares it as `price_per_hour` and `currency`."""

    per_hour: float
    currency: str

    @classmethod
    def declared(cls, settings: Mapping[str, Any]) -> Price | None:
        """Return the price that a project file declares, None when it declares none.

        Raises:
            InvalidInput: the price is no number of at least 0, or the currency no short text.
        """
        found = settings.get("resources", {})
        if not isinstance(found, dict) or "price_per_hour" not in found:
            return None
        price, currency = found["price_per_hour"], found.get("currency", "")
        number = isinstance(price, (int, float)) and not isinstance(price, bool)
        if not number or not 0 <= price < float("inf") or not isinstance(currency, str) or len(currency) > 10:
            raise InvalidInput(
                f"[resources] of gateline.toml declares price_per_hour = {price!r}, currency = {currency!r}.",
                next_step='Declare a number of at least 0 and a short text: price_per_hour = 0.45, currency = "EUR".',
            )
        return cls(per_hour=float(price), currency=currency)


class ResourceMeter:
    """Measures from its making until `read`.

    The peak of memory is that of the time measured where Linux lets it be reset, and of the whole process elsewhere; children that ended
    count with the peak of the largest of them. Meters may be open at the same time.
    """

    def __init__(self) -> None:
        self._peak_before_reset = 0
        for other in _open:
            other.note_peak()
        self._peak_is_own = _reset_peak()
        _open.add(self)
        self._begun = time.perf_counter()
        self._cpu = _cpu_seconds()
        self._io = _io_bytes()
        self._children_peak = _children_peak_bytes()

    def read(self, price: Price | None = None) -> dict[str, float]:
        """Return the measurements by metric name, all under `resources.`.

        Returns:
            `duration_seconds` (monotonic), `cpu_seconds` (user and system, with children), `peak_memory_bytes`, `read_bytes` and
            `written_bytes` (through system calls: files, pipes and sockets alike) where the system tells them, and with a price
            `estimated_cost`: hours of duration times the price of an hour.
        """
        duration = time.perf_counter() - self._begun
        found: dict[str, float] = {"duration_seconds": duration, "cpu_seconds": _cpu_seconds() - self._cpu}
        if (peak := self._peak_bytes()) is not None:
            found["peak_memory_bytes"] = peak
        now = _io_bytes()
        found |= {name: now[name] - self._io[name] for name in now.keys() & self._io.keys()}
        if price is not None:
            found["estimated_cost"] = duration / _SECONDS_PER_HOUR * price.per_hour
        return {f"{PREFIX}{name}": value for name, value in sorted(found.items())}

    def tags(self, price: Price | None = None) -> dict[str, str]:
        """Return how the measurements are to be read: what the peak counts from, and the price."""
        found = {f"{PREFIX}peak_memory_of": "run" if self._peak_is_own else "process"}
        if price is not None:
            found |= {f"{PREFIX}price_per_hour": repr(price.per_hour), f"{PREFIX}currency": price.currency or "unnamed"}
        return found

    def note_peak(self) -> None:
        """Remember the peak so far, which is about to be reset."""
        self._peak_before_reset = max(self._peak_before_reset, _peak_bytes())

    def _peak_bytes(self) -> int | None:
        children = _children_peak_bytes()
        peaks = [self._peak_before_reset, _peak_bytes(), children if children > self._children_peak else 0]
        known = [peak for peak in peaks if peak]
        return max(known) if known else None


_open: weakref.WeakSet[ResourceMeter] = weakref.WeakSet()


def _cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _reset_peak() -> bool:
    """Let the kernel forget the peak of memory so far; return whether it did."""
    try:
        _RESET_PEAK.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _peak_bytes() -> int:
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return _usage_peak_bytes("RUSAGE_SELF")


def _children_peak_bytes() -> int:
    return _usage_peak_bytes("RUSAGE_CHILDREN")


def _usage_peak_bytes(who: str) -> int:
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(getattr(resource, who)).ru_maxrss) * unit


def _io_bytes() -> dict[str, int]:
    try:
        told = dict(line.split(": ", 1) for line in _IO.read_text(encoding="ascii").splitlines())
        return {"read_bytes": int(told["rchar"]), "written_bytes": int(told["wchar"])}
    except (OSError, KeyError, ValueError):
        return {}
