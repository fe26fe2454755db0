"""Options of a step as people write them: spans of time, sizes of memory."""

from __future__ import annotations

import re
from typing import Any

from gateline.kernel.errors import InvalidInput
from gateline.pipelines import StepOptions, option_mistakes

_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kKMGT]?i?B)")


def step_options(
    step: str, *, retry_wait: str | float = 0, timeout: str | float | None = None, memory: str | int | None = None,
    approval_timeout: str | float | None = None, **plain: Any,
) -> StepOptions:  # fmt: skip
    """Return the options of a step.

    Args:
        step: Its name, for messages.
        retry_wait: Seconds, or a span such as `10s`.
        timeout: Seconds, a span such as `1h`, or None.
        memory: Bytes, a size such as `2GiB`, or None.
        approval_timeout: Seconds, a span such as `2d`, or None.
        plain: The other fields of `StepOptions`.

    Raises:
        InvalidInput: some are not allowed; all are named.
    """
    wrong: list[str] = []

    def read(reader: Any, value: Any) -> Any:
        try:
            return reader(value) if isinstance(value, str) else value
        except InvalidInput as error:
            wrong.append(str(error).removesuffix("."))
            return None

    found = {
        **plain,
        "retry_wait_seconds": read(_seconds_of, retry_wait) or 0,
        "timeout_seconds": read(_seconds_of, timeout),
        "memory_bytes": read(bytes_of, memory),
        "approval_timeout_seconds": read(_seconds_of, approval_timeout),
    }
    wrong += option_mistakes(found)
    if wrong:
        raise InvalidInput(f"The options of step '{step}' are not allowed: {'; '.join(wrong)}.")
    return StepOptions(**found)


def _seconds_of(span: str) -> int:
    from gateline.features import seconds_of  # most steps name no span, and each process of a step imports this

    return seconds_of(span)


def bytes_of(size: str) -> int:
    """Return a size such as `512MiB`, `2GiB` or `1.5GB` in bytes.

    >>> bytes_of("2GiB"), bytes_of("1.5GB")
    (2147483648, 1500000000)

    Raises:
        InvalidInput: the text is no size.
    """
    found = _SIZE.fullmatch(size)
    if found is None or found[2] not in _UNITS:
        raise InvalidInput(f"'{size:.80}' is no size of memory.", next_step="Write a number and MB, MiB, GB or GiB, such as 2GiB.")
    return int(float(found[1]) * _UNITS[found[2]])
