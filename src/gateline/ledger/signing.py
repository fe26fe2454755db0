"""Ed25519 keys (RFC 8032) and DSSE envelopes (the Dead Simple Signing Envelope 1.0 of secure-systems-lab)."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateline.kernel.canonical import canonical_bytes, sha256_bytes
from gateline.kernel.errors import ConfigurationError
from gateline.kernel.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

_KEY_MODE = 0o600


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that DSSE signs (its PAE)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


class PublicKey:
    """A key that signatures are checked with.

    Args:
        raw: The 32 bytes of an Ed25519 public key.
    """

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.id = sha256_bytes(raw)
        self._key = Ed25519PublicKey.from_public_bytes(raw)

    @classmethod
    def load(cls, path: Path) -> PublicKey:
        """Read a public key in PEM form."""
        key = serialization.load_pem_public_key(path.read_bytes())
        if not isinstance(key, Ed25519PublicKey):
            raise ConfigurationError(f"{path} is no Ed25519 public key.", next_step="Name the file keys/ledger.pub of the installation.")
        return cls(key.public_bytes_raw())

    def open(self, envelope: dict[str, Any], payload_type: str) -> Any | None:
        """Return the payload of a DSSE envelope, or None when no signature in it is by this key over that payload and type."""
        try:
            payload = base64.b64decode(envelope["payload"], validate=True)
            signatures = [base64.b64decode(one["sig"], validate=True) for one in envelope["signatures"] if one.get("keyid") == self.id]
        except (KeyError, TypeError, binascii.Error):
            return None
        if envelope.get("payloadType") != payload_type:
            return None
        for signature in signatures:
            try:
                self._key.verify(signature, pre_authentication(payload_type, payload))
            except InvalidSignature:
                continue
            return json.loads(payload)
        return None


class SigningKey:
    """The installation's private key. It signs checkpoints, gate runs and approvals."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes_raw())

    @classmethod
    def load_or_create(cls, folder: Path) -> SigningKey:
        """Read `ledger.key` from the folder, or make one; the private file is readable by its owner alone.

        Raises:
            ConfigurationError: the file is unreadable, or others can read it.
        """
        path = folder / "ledger.key"
        if not path.exists():
            cls._create(folder)
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"Others may read the signing key {path}.", next_step=f"Run: chmod 600 '{path}'")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError(f"{path} is no Ed25519 private key.", next_step="Restore the key file from your backup.")
        return cls(key)

    @staticmethod
    def _create(folder: Path) -> None:
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(folder / "ledger.pub", public)
        write_atomic(folder / "ledger.key", private, mode=_KEY_MODE)

    def sign(self, payload_type: str, payload: Any) -> dict[str, Any]:
        """Return a DSSE envelope over the canonical bytes of a JSON-able payload."""
        content = canonical_bytes(payload)
        signature = self._key.sign(pre_authentication(payload_type, content))
        return {
            "payloadType": payload_type,
            "payload": base64.b64encode(content).decode(),
            "signatures": [{"keyid": self.public.id, "sig": base64.b64encode(signature).decode()}],
        }
