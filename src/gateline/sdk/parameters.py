"""Parameters as MLflow keeps them: text of limited length. What is longer goes whole into a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import canonical_bytes, sha256_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

LONG_PARAMS_FILE = "long_params.json"
PARAM_LENGTH_MAX = 6_000  # MLflow cuts what is longer, with a warning only
_SHOWN = 200


def logged_params(params: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return parameters as text, and the files that go with them.

    A text of more than 6,000 characters stands in the file `long_params.json`; as parameter it is its beginning, length and SHA-256,
    so that two runs still differ when it does.

    >>> logged_params({"rounds": 100})
    ({'rounds': '100'}, {})
    >>> short, files = logged_params({"columns": "x" * 100_000})
    >>> short["columns"][200:], list(files)
    ('… (100,000 characters, sha256 1b1e46a69d18…; whole in long_params.json)', ['long_params.json'])
    """
    texts = {key: str(value) for key, value in params.items()}
    long = {key: text for key, text in texts.items() if len(text) > PARAM_LENGTH_MAX}
    if not long:
        return texts, {}
    texts |= {key: _abridged(text) for key, text in long.items()}
    return texts, {LONG_PARAMS_FILE: canonical_bytes(long)}


def _abridged(text: str) -> str:
    digest = sha256_bytes(text.encode("utf-8", "surrogatepass"))
    return f"{text[:_SHOWN]}… ({len(text):,} characters, sha256 {digest[:12]}…; whole in {LONG_PARAMS_FILE})"
