"""Secrets in cells: found by a list of known forms, and replaced before anything leaves the machine.

The list is conservative: forms of tokens that their makers publish, private keys, passwords in addresses, and texts that are given to a
name such as `password`. A secret of no known form is not found. What stands in its place keeps the cell as readable as it was.
"""

from __future__ import annotations

import re

REDACTED = "[redacted]"
_NAME = (
    r"\b\w*?(?:passw(?:or)?d|passphrase|pwd|secret|token|credentials?|api_?key|(?:access|account|auth|encryption|master|private|secret)_?key)"
    r"(?:_id)?"
)
_FORMS = {
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    "AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "Databricks token": r"\bdapi[0-9a-f]{32}\b",
    "Gateline token": r"\bgl_[\w-]{43}(?![\w-])",
    "GitHub token": r"\b(?:gh[opsru]_[A-Za-z0-9]{36,}|github_pat_\w{22,})",
    "GitLab token": r"\bglpat-[\w-]{20,}",
    "Google key": r"\bAIza[\w-]{35}",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "JSON web token": r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,}",
    "npm or PyPI token": r"\b(?:npm_[A-Za-z0-9]{36}|pypi-[\w-]{16,})",
    "Slack token": r"\bxox[abeoprs]-[\w-]{10,}",
    "Stripe key": r"\b[rs]k_(?:live|test)_[0-9A-Za-z]{16,}",
    "key": r"\bsk-[\w-]{20,}",
    "password in an address": r"(?<=://)(?P<before>[^\s/:@'\"]*:)(?P<secret>(?!\{[^{}]*\}@)[^\s/@'\"]+)(?=@)",
    "authorization": r"(?i:(?P<before>\bauthorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer|token)\s+|\bbearer\s+(?=[\w.~+/=-]{16})))"
    r"(?P<secret>[\w.~+/=-]{4,})",
    "pair of user and password": r"(?P<before>\bauth\s*=\s*\(\s*(['\"])[^'\"\n]*\2\s*,\s*['\"])(?P<secret>[^'\"\n]+)",
    "password or token": rf"(?i:(?P<before>(?:{_NAME}['\"]?\s*\]?(?:\s*:\s*\w+(?=\s*=))?\s*(?:==?|:)"
    rf"|(?:getenv|putenv|setenv|setdefault|\.get)\(\s*['\"]{_NAME}['\"]\s*,)\s*[rbfu]{{0,2}}(?P<quote>['\"]{{3}}|['\"])))"
    r"(?P<secret>(?![<{\[][^<>{}\[\]]*[>}\]](?P=quote)|secret://)(?:(?!(?P=quote))[^\n\\]|\\.){3,4096})(?=(?P=quote))",
    "password or token in a command": rf"(?im:(?P<before>^\s*[%!][^\n]*?{_NAME}(?:=|\s+)))(?P<secret>(?!=)[^\s'\"$\[]{{3,}})",
}
_PATTERNS = {kind: re.compile(pattern, re.DOTALL if kind == "private key" else 0) for kind, pattern in _FORMS.items()}


def redact(source: str) -> tuple[str, tuple[str, ...]]:
    """Return a cell without its secrets, and of which kinds they were, each once. What is redacted stays as it is.

    >>> redact("connect(user='ana', password='hunter2')")
    ("connect(user='ana', password='[redacted]')", ('password or token',))
    >>> redact("pad_token = '<pad>'")
    ("pad_token = '<pad>'", ())
    """
    kinds = []
    for kind, pattern in _PATTERNS.items():
        while (redacted := pattern.sub(_replaced, source)) != source:  # a command may hold several, of which one pass finds the first
            kinds.append(kind)
            source = redacted
    return source, tuple(dict.fromkeys(kinds))


def _replaced(match: re.Match[str]) -> str:
    named = match.groupdict()
    return f"{named.get('before', '')}{REDACTED}"
