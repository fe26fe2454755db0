"""What a parameter or a small result may be: JSON that every database, engine and language reads back as it was written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gateline.kernel.canonical import canonical_bytes
from gateline.kernel.errors import InvalidInput, TooLarge
from gateline.kernel.limits import VALUE_BYTES_MAX, VALUE_DEPTH_MAX

_INTEGER_MAX = 2**63 - 1
_ADVICE = {
    "date": "Pass value.isoformat().",
    "datetime": "Pass value.isoformat().",
    "time": "Pass value.isoformat().",
    "timedelta": "Pass value.total_seconds().",
    "Decimal": "Pass str(value) or float(value).",
    "bytes": "Write them to a file, and return its path from a step.",
    "set": "Pass sorted(value).",
    "frozenset": "Pass sorted(value).",
    "ndarray": "Pass value.tolist().",
    "Series": "Pass value.to_list(), or return value.to_frame() from a step.",
    "DataFrame": "Return it from a step, and pass the step's result.",
    "PosixPath": "Pass str(value), or return the path from a step.",
    "Each": "Use each(…) directly as an argument of .map(…).",
}


def plain_value(value: Any, what: str, *, bytes_max: int = VALUE_BYTES_MAX, depth_max: int = VALUE_DEPTH_MAX) -> Any:
    """Return a value as plain JSON: tuples become lists, numbers of numpy become numbers, text enumerations become text.

    >>> plain_value({"rates": (0.1, 0.2)}, "argument 'grid'")
    {'rates': [0.1, 0.2]}

    Args:
        value: Nothing, true, false, a whole number of 64 bits, a finite number, text, or lists and dictionaries of these.
        what: Names the value in messages, such as "argument 'rate' of step 'fit'".
        bytes_max: The size allowed, as canonical JSON.
        depth_max: The nesting allowed.

    Raises:
        InvalidInput: the value is or holds something else; the message says where.
        TooLarge: it is nested deeper, or larger, than allowed.
    """
    plain = _plain(value, what, (), depth_max)
    size = len(canonical_bytes(plain))
    if size > bytes_max:
        raise TooLarge(
            f"The {what} has {size:,} bytes; {bytes_max:,} are allowed.",
            next_step="Keep it in a dataset, or return it from a step as a frame or a file.",
        )
    return plain


def _plain(value: Any, what: str, path: tuple[str | int, ...], depth_max: int) -> Any:
    """Return the plain form of a value that stands at a path within what is checked."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _plain_text(value, what, path)
    if isinstance(value, int):
        if not -_INTEGER_MAX - 1 <= value <= _INTEGER_MAX:
            raise _refusal(what, path, "is a whole number of more than 64 bits", "Pass it as text.")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _refusal(what, path, f"is {_name_of(value)}, which JSON cannot carry", "Pass None, or text such as 'NaN'.")
        return float(value)
    if len(path) >= depth_max:
        raise TooLarge(f"The {what} is nested deeper than {depth_max} levels.", next_step="Flatten it, or keep it in a file.")
    if isinstance(value, list | tuple):
        return [_plain(one, what, (*path, position), depth_max) for position, one in enumerate(value)]
    if isinstance(value, Mapping):
        return {_plain_key(key, what, path): _plain(one, what, (*path, str(key)), depth_max) for key, one in value.items()}
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        return _plain(value.item(), what, (*path, ".item()"), depth_max)
    kind = type(value).__name__
    raise _refusal(what, path, f"is a {kind}", _ADVICE.get(kind, "Pass numbers, text, lists and dictionaries of these."))


def _plain_text(value: str, what: str, path: tuple[str | int, ...]) -> str:
    if "\x00" in value:
        raise _refusal(what, path, "is text with a NUL character", "Take it out; databases cannot keep it.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _refusal(what, path, "is text with half of a surrogate pair", "Decode it with the right encoding.") from None
    return str.__str__(value)  # of a subclass, such as a text enumeration, the text alone


def _plain_key(key: Any, what: str, path: tuple[str | int, ...]) -> str:
    if not isinstance(key, str):
        raise _refusal(what, path, f"has the key {key!r:.80}, a {type(key).__name__}", "Use text as keys, such as str(key).")
    return _plain_text(key, what, path)


def _name_of(value: float) -> str:
    return "NaN" if math.isnan(value) else "infinity" if value > 0 else "minus infinity"


def _refusal(what: str, path: tuple[str | int, ...], problem: str, next_step: str) -> InvalidInput:
    place = "".join(f"[{one!r:.80}]" for one in path if one != ".item()")
    return InvalidInput(f"The {what}{' at ' + place if place else ''} {problem}.", next_step=next_step)
