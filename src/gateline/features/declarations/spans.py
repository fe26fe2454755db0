"""Spans of time as people write them: 90s, 30m, 2h, 7d, 1w."""

from __future__ import annotations

import re

from gateline.kernel.errors import InvalidInput

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"(\d+)([smhdw])")


def seconds_of(span: str | int) -> int:
    """Return a span of time such as `90s`, `30m`, `2h`, `7d` or `1w` in seconds; whole seconds pass through.

    >>> seconds_of("2h"), seconds_of(90)
    (7200, 90)

    Raises:
        InvalidInput: the text is no span.
    """
    if isinstance(span, int) and not isinstance(span, bool):
        return span
    found = _SPAN.fullmatch(str(span))
    if found is None:
        raise InvalidInput(f"'{span}' is no span of time.", next_step="Write a whole number and s, m, h, d or w, for example 90s or 7d.")
    return int(found[1]) * _UNITS[found[2]]


def span_of(seconds: int) -> str:
    """Return seconds in the largest unit that holds them exactly; `seconds_of` reads it back.

    >>> span_of(7200), span_of(604_800), span_of(90)
    ('2h', '7d', '90s')
    """
    unit = next((unit for unit in "dhm" if seconds and seconds % _UNITS[unit] == 0), "s")
    return f"{seconds // _UNITS[unit]}{unit}"
