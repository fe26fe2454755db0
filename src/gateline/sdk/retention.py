"""Keeping dataset versions, through the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateline.data import Pin, Reconstruction, Vacuum
from gateline.kernel.names import split_version_id

if TYPE_CHECKING:
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


def reconstruct_dataset(client: Client, version: str, *, restore: bool = False) -> Reconstruction:
    """Build a version (`flights@1`) again from its raw rows and compare; with `restore`, write lost table files again."""
    name, number = split_version_id(version)
    found = client.post(f"/datasets/{name}/versions/{number}/reconstruct", params={"restore": restore})
    lists = {field: tuple(found[field]) for field in ("differences", "restored", "unrestorable")}
    return Reconstruction(**found | lists)
