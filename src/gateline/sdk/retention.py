"""Keeping dataset versions, through the API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateline.data import BuildFrom, Pin, Reconstruction, Vacuum
from gateline.kernel.canonical import sha256_file
from gateline.kernel.names import split_version_id
from gateline.sdk.data import dataset

if TYPE_CHECKING:
    from gateline.data import DatasetVersion
    from gateline.kernel.clock import Instant
    from gateline.sdk.client import Client


def pin_dataset(
    client: Client, version: str, *, reason: str, until: Instant | None = None, legal_hold: bool = False, evidence: bool = False
) -> Pin:
    """Keep the files of a version (`flights@1`) until a time (UTC microseconds) or until the pin is released; they are hashed first.

    Args:
        client: The connection.
        version: Id of the version.
        reason: Why it is kept.
        until: When the pin ends by itself.
        legal_hold: Whether only an administrator may release it.
        evidence: Whether to copy the files into the object store too, where no other tool removes them.

    Raises:
        IntegrityFailure: a file changed.
        NotFound: there is no such version, or a file is missing.
    """
    name, number = split_version_id(version)
    body = {"reason": reason, "until": until, "legal_hold": legal_hold, "evidence": evidence}
    return Pin(**client.post(f"/datasets/{name}/versions/{number}/pins", json=body))


def unpin_dataset(client: Client, pin: str, *, reason: str) -> Pin:
    """Release a pin by its id; raises Denied for a legal hold unless the caller is an administrator."""
    return Pin(**client.delete(f"/dataset-pins/{pin}", params={"reason": reason}))


def dataset_pins(client: Client, name: str | None = None, *, everything: bool = False) -> list[Pin]:
    """Return the pins of a dataset, or of all, oldest first; without `everything` only those that hold now."""
    params = {"everything": everything} | ({} if name is None else {"name": name})
    return [Pin(**one) for one in client.get("/dataset-pins", params=params)]


def vacuum_dataset(
    client: Client,
    name: str,
    *,
    apply: bool = False,
    older_than_days: float | None = None,
    rebuildable: bool = False,
    orphan_hours: float = 24.0,
) -> Vacuum:
    """Remove table files of a dataset that nothing keeps, or, without `apply`, say which these are.

    Args:
        client: The connection.
        name: Name of the dataset.
        apply: Whether to remove them.
        older_than_days: Age from which recorded versions may lose their files; None spares them all.
        rebuildable: Whether versions that a registered model was made from may lose them too.
        orphan_hours: Age from which a file that no record names counts as left behind.
    """
    body = {"apply": apply, "older_than_days": older_than_days, "rebuildable": rebuildable, "orphan_hours": orphan_hours}
    found = client.post(f"/datasets/{name}/vacuum", json=body)
    return Vacuum(
        **found | {"orphans": tuple(found["orphans"]), "versions": {one: tuple(paths) for one, paths in found["versions"].items()}}
    )


def reconstruct_dataset(
    client: Client,
    version: str,
    *,
    build_from: BuildFrom | str = BuildFrom.AUTO,
    file: Path | str | None = None,
    restore: bool = False,
) -> Reconstruction:
    """Build a version (`flights@1`) again and compare; the outcome is recorded.

    Args:
        client: The connection.
        version: Id of the version.
        build_from: `sources` reads its source again, `kept` takes its raw rows, `auto` takes whichever gives the version.
        file: Where its uploaded file lies on this machine; by default where it lay when it was registered. A file found there by default is
            sent only when it is the very one, so that no record can make this machine send another.
        restore: Whether to write lost table files again.

    Raises:
        NotFound: there is no such version, or no such file.
        Denied: its source is a connection, which the caller may not have read.
    """
    name, number = split_version_id(version)
    params = {"build_from": str(build_from), "restore": restore, "file": ""}
    if file is not None:
        params["file"] = client.upload(Path(file))
    elif build_from != BuildFrom.KEPT:
        params["file"] = _found(client, dataset(client, name, number))
    return Reconstruction.from_dict(client.post(f"/datasets/{name}/versions/{number}/reconstruct", params=params))


def _found(client: Client, version: DatasetVersion) -> str:
    """Return what lies where the file of a version lay: its SHA-256 after uploading it, `missing`, `changed`, or nothing if unknown."""
    if not version.made_of.origin:
        return ""
    path = Path(version.made_of.origin)
    if not path.is_file():
        return "missing"
    return client.upload(path) if sha256_file(path) == version.raw_sha256 else "changed"
