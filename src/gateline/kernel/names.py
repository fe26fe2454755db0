"""Names of things that people choose, and the ids of their versions."""

from __future__ import annotations

import re

from gateline.kernel.errors import InvalidInput
from gateline.kernel.limits import NAME_LENGTH_MAX

_NAME = re.compile(r"[a-z][a-z0-9._-]*")


def valid_name(kind: str, name: str) -> str:
    """Return the name when it is lower-case letters, digits, dots, dashes and underscores, starting with a letter.

    >>> valid_name("model", "flight-delay")
    'flight-delay'

    Raises:
        InvalidInput: the name is anything else, or longer than 100 characters.
    """
    if len(name) > NAME_LENGTH_MAX or _NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"The {kind} name '{name[:120]}' is not allowed.",
            next_step=f"Use at most {NAME_LENGTH_MAX} lower-case letters, digits, '.', '-' and '_', starting with a letter.",
        )
    return name


def version_id(name: str, number: int) -> str:
    """Return the id of a version: `flights@3`."""
    return f"{name}@{number}"


def split_version_id(text: str) -> tuple[str, int]:
    """Return name and number of a version id.

    >>> split_version_id("flights@3")
    ('flights', 3)

    Raises:
        InvalidInput: the text is not of the form name@number.
    """
    name, separator, number = text.rpartition("@")
    if not separator or not number.isdecimal():
        raise InvalidInput(f"'{text}' is not a version id.", next_step="Write name@number, such as flights@1.")
    return name, int(number)
