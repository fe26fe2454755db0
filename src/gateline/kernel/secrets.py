"""Secrets by reference: a text names where a secret lies, and the value is looked up at the moment of use, never stored or shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from gateline.kernel.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

_REFERENCE = re.compile(r"secret://(?:env/(?P<env>[A-Za-z_][A-Za-z0-9_]*)|file(?P<file>/[^@?&#\s]+))")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A text with its secrets in place. It shows neither in a traceback nor in a log."""

    _text: str
    _values: tuple[str, ...]

    def reveal(self) -> str:
        """Return the text for its one use."""
        return self._text

    def redact(self, message: str) -> str:
        """Return a message without the secrets, and without the text itself."""
        for value in sorted({self._text, *self._values, *(quote(value, safe="") for value in self._values)}, key=len, reverse=True):
            if value:
                message = message.replace(value, "***")
        return message

    def __repr__(self) -> str:
        """Return nothing of the text."""
        return "Resolved(***)"


def resolve_secrets(text: str, *, variable: Callable[[str], str | None]) -> Resolved:
    """Return the text with each `secret://env/NAME` and `secret://file/PATH` replaced by what it names.

    A value inside a longer text, such as a URL, is percent-encoded there; a text that is one reference becomes the value as it is. The
    last line break of a file does not count.

    >>> resolve_secrets("db://me:secret://env/PW@host", variable={"PW": "a@b"}.get).reveal()
    'db://me:a%40b@host'

    Raises:
        ConfigurationError: a variable is not set, or a file cannot be read; the message names it, never its content.
    """
    values: list[str] = []

    def value(found: re.Match[str]) -> str:
        values.append(_value(found, variable))
        return values[-1] if found.group() == text else quote(values[-1], safe="")

    return Resolved(_REFERENCE.sub(value, text), tuple(values))


def _value(found: re.Match[str], variable: Callable[[str], str | None]) -> str:
    if found["env"] is not None:
        given = variable(found["env"])
        if not given:
            raise ConfigurationError(f"The secret {found.group()} is not set.", next_step="Set the variable where the server is started.")
        return given
    try:
        return Path(found["file"]).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"The secret {found.group()} cannot be read: {reason}.", next_step="Check the file.") from None
