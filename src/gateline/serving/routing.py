"""The routing snapshot: the file the control plane writes, and the loaded route that a worker answers from.

A loaded route is immutable. It is made complete (files verified, models loaded and warmed) before one assignment puts it in the place
of the old one, so a request sees the one or the other.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateline.kernel.errors import Denied, IntegrityFailure, InvalidInput, Unauthenticated
from gateline.serving.form import BoundForm, LoadedForm
from gateline.serving.model import CHAMPION, SERVING_DOCUMENT, FeatureKind, FeatureSpec
from gateline.serving.rules import choose_arm, cut_points, salt_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMAT = 1
REQUEST_PERMISSION = "prediction:request"
REPLAY_PERMISSION = "prediction:replay"
_PROCESS_KEY = secrets.token_bytes(32)
_NO_TOKEN = "Send 'Authorization: Bearer gl_…' with a token that may request predictions."


class FeatureDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One feature of the endpoint."""

    name: str
    kind: FeatureKind


class FormReference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a served form lies and the digest of each of its files."""

    directory: str
    files: dict[str, str]


class ArmDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One arm of the route, or one shadow."""

    name: str
    version: str
    weight: float
    form: FormReference


class GrantDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One API token that may ask: the keyed hash of its secret and what it may do."""

    hash: str
    principal: str
    permissions: tuple[str, ...]
    expires_at: int | None = None


class RouteDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole snapshot of one endpoint, as the file `route-<endpoint>.json` holds it."""

    format: int
    endpoint: str
    model: str
    generation: int
    salt: str
    features: tuple[FeatureDocument, ...]
    arms: tuple[ArmDocument, ...]
    shadow: tuple[ArmDocument, ...]
    tokens: tuple[GrantDocument, ...]

    def encode(self) -> bytes:
        """Return the bytes of the file; equal snapshots give equal bytes."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=1)


def read_route(path: Path) -> RouteDocument:
    """Return the snapshot in a file.

    Raises:
        InvalidInput: the file is not a snapshot of a format this version knows.
    """
    try:
        document = msgspec.json.decode(path.read_bytes(), type=RouteDocument)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InvalidInput(f"The routing snapshot {path} cannot be read: {error}.") from error
    if document.format != FORMAT:
        raise InvalidInput(f"The routing snapshot {path} has format {document.format}; this worker knows {FORMAT}.")
    return document


class Arm:
    """A model version ready to score, and its share."""

    __slots__ = ("form", "name", "version", "weight")

    def __init__(self, name: str, version: str, weight: float, form: BoundForm) -> None:
        self.name = name
        self.version = version
        self.weight = weight
        self.form = form


class FormCache:
    """Loaded forms by digest, so that a new route reloads only what it does not share with the old one."""

    def __init__(self) -> None:
        self._forms: dict[str, LoadedForm] = {}

    def get(self, reference: FormReference) -> LoadedForm:
        """Return the loaded form, reading and verifying its files when they were not loaded before.

        Raises:
            IntegrityFailure: a file is missing or differs from its digest.
        """
        digest = reference.files.get(SERVING_DOCUMENT)
        if digest is None:
            raise IntegrityFailure(f"The form in {reference.directory} names no digest for {SERVING_DOCUMENT}.")
        found = self._forms.get(digest)
        if found is None:
            found = LoadedForm.load(Path(reference.directory), reference.files, checked=True)
            found.warm()
            self._forms[digest] = found
        return found

    def keep(self, digests: set[str]) -> None:
        """Forget every form that is not among these."""
        self._forms = {digest: form for digest, form in self._forms.items() if digest in digests}


class LoadedRoute:
    """A route a worker answers from.

    Args:
        document: The snapshot.
        token_key: The installation's key of token hashes.
        forms: Where loaded forms are found or put.

    Raises:
        IntegrityFailure: a file of a form is missing or differs from its digest.
        InvalidInput: a form does not fit the endpoint, or the arms are not sound.
    """

    __slots__ = (
        "_cuts", "_grants", "_known", "_salt_key", "_token_key", "arms", "champion", "document", "endpoint", "features",
        "generation", "shadow",
    )  # fmt: skip

    def __init__(self, document: RouteDocument, token_key: bytes, forms: FormCache) -> None:
        self.document = document
        self.endpoint = document.endpoint
        self.generation = document.generation
        self.features = tuple(FeatureSpec(name=one.name, kind=one.kind) for one in document.features)
        self.arms = tuple(self._arm(arm, forms) for arm in document.arms)
        self.shadow = tuple(self._arm(arm, forms) for arm in document.shadow)
        champion = [arm for arm in self.arms if arm.name == CHAMPION]
        if len(champion) != 1 or not any(arm.weight > 0 for arm in self.arms):
            raise InvalidInput(f"The route of '{document.endpoint}' has no arm '{CHAMPION}', several, or no weight.")
        self.champion = champion[0]
        self._cuts = cut_points([arm.weight for arm in self.arms])
        self._salt_key = salt_key(document.salt)
        self._token_key = token_key
        self._known: dict[bytes, GrantDocument] = {}
        self._grants: Mapping[bytes, GrantDocument] = {bytes.fromhex(one.hash): one for one in document.tokens}

    def _arm(self, arm: ArmDocument, forms: FormCache) -> Arm:
        bound = forms.get(arm.form).bind(self.features)
        return Arm(arm.name, arm.version, arm.weight, bound)

    def form_digests(self) -> set[str]:
        """Return the digests of the forms in use."""
        return {arm.form.files[SERVING_DOCUMENT] for arm in (*self.document.arms, *self.document.shadow)}

    def choose(self, unit: bytes) -> Arm:
        """Return the arm that answers this entity (or request, when it names none)."""
        return self.arms[0] if len(self.arms) == 1 else self.arms[choose_arm(self._salt_key, self._cuts, unit)]

    def companions(self, arm: Arm) -> Sequence[Arm]:
        """Return who scores along unseen: the champion beside any other arm, the shadows beside the champion."""
        return self.shadow if arm is self.champion else (self.champion,)

    def authorise(self, token: bytes, now: int) -> GrantDocument:
        """Return what a bearer token may do here.

        Tokens are looked up by keyed hashes only, whose place a caller cannot steer, so timing tells nothing; a hash that was found is
        compared in constant time. A token that passed once is remembered, for the life of this route, under a hash with a key of this
        process, which is several times cheaper than the installation's HMAC-SHA256 (RFC 2104).

        Raises:
            Unauthenticated: no token, an unknown one or an expired one.
            Denied: the token may not request predictions.
        """
        short = hashlib.blake2b(token, digest_size=32, key=_PROCESS_KEY).digest()
        grant = self._known.get(short) or self._look_up(token)
        if grant is None:
            raise Unauthenticated("The token is missing or not known to this endpoint.", next_step=_NO_TOKEN)
        if grant.expires_at is not None and now >= grant.expires_at:
            raise Unauthenticated("The token has expired.", next_step=_NO_TOKEN)
        if REQUEST_PERMISSION not in grant.permissions:
            raise Denied(f"'{grant.principal}' lacks the permission {REQUEST_PERMISSION}.")
        self._known[short] = grant
        return grant

    def _look_up(self, token: bytes) -> GrantDocument | None:
        """Return the grant of a token by the installation's hash."""
        hashed = hmac.digest(self._token_key, token, "sha256")
        grant = self._grants.get(hashed) if token else None
        return grant if grant is not None and hmac.compare_digest(bytes.fromhex(grant.hash), hashed) else None
