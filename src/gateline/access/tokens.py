"""Secrets of API tokens: how they are made, and the keyed hash that is stored in their place."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from gateline.kernel.errors import ConfigurationError
from gateline.kernel.files import fsync_directory, storage_errors

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "gl_"
KEY_BYTES = 32
SECRET_LENGTH = len(PREFIX) + 43
"""`gl_` and 32 random bytes as 43 characters of URL-safe base64."""


def new_secret() -> str:
    """Return a fresh token secret with 256 random bits; the prefix lets secret scanners find leaks."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_token(key: bytes, token: str) -> str:
    """Return the hex HMAC-SHA256 (RFC 2104) of a token under the installation's key.

    Stolen records alone do not allow guessing or recognising tokens: the key lies outside the database.

    >>> hash_token(b"key", "gl_a") == hash_token(b"other key", "gl_a")
    False
    """
    return hmac.new(key, token.encode(), hashlib.sha256).hexdigest()


def load_token_key(keys_path: Path) -> bytes:
    """Return the key of token hashes from `keys_path/token.key`, creating it (mode 0600) at the first call.

    Raises:
        ConfigurationError: the file holds something else than 32 bytes.
        StorageFull: the key cannot be written.
    """
    path = keys_path / "token.key"
    if not path.exists():
        _create_key(path)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"The token key {path} holds {len(key)} bytes; it must hold {KEY_BYTES}.",
            next_step="Restore the file from a backup; with a new key every token must be created anew.",
        )
    return key


def _create_key(path: Path) -> None:
    """Write a random key so that of two processes starting at once both end with the same one."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".token.key.{secrets.token_hex(8)}")
        try:
            temporary.touch(mode=0o600)
            temporary.write_bytes(secrets.token_bytes(KEY_BYTES))
            try:
                path.hardlink_to(temporary)  # fails when another process was first; its key counts then
            except FileExistsError:
                return
        finally:
            temporary.unlink(missing_ok=True)
        fsync_directory(path.parent)
