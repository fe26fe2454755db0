"""From records to what workers read: served forms in folders, routing snapshots in files. All of it can be made again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateline.kernel.canonical import sha256_file
from gateline.kernel.errors import IntegrityFailure, InvalidInput
from gateline.kernel.files import write_atomic
from gateline.serving.form import FormDocument, LoadedForm, read_form_document
from gateline.serving.model import MODEL_FILE, SERVING_DOCUMENT
from gateline.serving.routing import FORMAT, ArmDocument, FeatureDocument, FormReference, GrantDocument, RouteDocument
from gateline.serving.worker import ROUTE_PREFIX, ROUTE_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from gateline.access import TokenGrant
    from gateline.data import ObjectStore
    from gateline.serving.model import Endpoint, Route, RouteArm


def route_path(folder: Path, endpoint: str) -> Path:
    """Return where the snapshot of an endpoint lies."""
    return folder / f"{ROUTE_PREFIX}{endpoint}{ROUTE_SUFFIX}"


def stored_form(objects: ObjectStore, files: Mapping[str, str]) -> FormDocument:
    """Return the serving.json of a form whose files are in the object store.

    Raises:
        InvalidInput: the files are not those of a served form.
        NotFound: a file is not in the object store.
        IntegrityFailure: serving.json was changed, or pins another model file.
    """
    if SERVING_DOCUMENT not in files or MODEL_FILE not in files:
        raise InvalidInput(
            f"A served form has the files {SERVING_DOCUMENT} and {MODEL_FILE}; given are {', '.join(sorted(files)) or 'none'}.",
            next_step="Compile it with gateline.serving.compile_served_form.",
        )
    with objects.open_verified(files[SERVING_DOCUMENT]) as file:
        document = read_form_document(file.read())
    if document.files.get(MODEL_FILE) != files[MODEL_FILE]:
        raise IntegrityFailure(f"{SERVING_DOCUMENT} pins another {MODEL_FILE} than the model version has.")
    objects.path(files[MODEL_FILE])
    return document


def lay_out_form(folder: Path, objects: ObjectStore, files: Mapping[str, str]) -> FormReference:
    """Put the files of a form where workers read them, and check that the model can be loaded safely.

    A file that is there with the right digest stays; a damaged one is replaced.

    Raises:
        IntegrityFailure: a stored file was changed, or the model's structure is broken.
        StorageFull: the disk is full.
    """
    directory = folder / "forms" / files[SERVING_DOCUMENT]
    wanted = {name: files[name] for name in (SERVING_DOCUMENT, MODEL_FILE)}
    fresh = False
    for name, sha256 in wanted.items():
        target = directory / name
        if not target.is_file() or sha256_file(target) != sha256:
            with objects.open_verified(sha256) as file:
                write_atomic(target, file.read())
            fresh = True
    if fresh:
        LoadedForm.load(directory, wanted)
    return FormReference(directory=str(directory.absolute()), files=wanted)


def grants(tokens: Iterable[TokenGrant]) -> tuple[GrantDocument, ...]:
    """Return what workers learn of the tokens, in a fixed order."""
    found = [
        GrantDocument(
            hash=one.hash,
            principal=one.principal,
            permissions=tuple(sorted(each.value for each in one.permissions)),
            expires_at=one.expires_at,
        )
        for one in tokens
    ]
    return tuple(sorted(found, key=lambda one: one.hash))


def route_document(
    endpoint: Endpoint, route: Route, tokens: Sequence[GrantDocument], references: Mapping[str, FormReference]
) -> RouteDocument:
    """Return the snapshot of a route.

    Args:
        endpoint: Whose route it is.
        route: The route.
        tokens: Who may ask.
        references: Where each form lies, by the digest of its serving.json.
    """

    def arm(one: RouteArm) -> ArmDocument:
        return ArmDocument(name=one.name, version=one.version, weight=one.weight, form=references[one.form[SERVING_DOCUMENT]])

    return RouteDocument(
        format=FORMAT, endpoint=endpoint.name, model=endpoint.model, generation=route.generation, salt=route.salt,
        features=tuple(FeatureDocument(name=one.name, kind=one.kind) for one in endpoint.features),
        arms=tuple(arm(one) for one in route.arms), shadow=tuple(arm(one) for one in route.shadow), tokens=tuple(tokens),
    )  # fmt: skip


def write_snapshot(path: Path, document: RouteDocument) -> bool:
    """Write a snapshot when it differs from what the file holds; returns whether it did.

    Raises:
        StorageFull: the disk is full; the old snapshot stays.
    """
    content = document.encode()
    try:
        if path.read_bytes() == content:
            return False
    except FileNotFoundError:
        pass
    write_atomic(path, content, mode=0o640)
    return True
