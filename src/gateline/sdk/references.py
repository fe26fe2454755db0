"""Values that stand for what Gateline keeps: dataset versions and models; and the type of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gateline.kernel.errors import InvalidInput
from gateline.kernel.names import split_version_id
from gateline.pipelines import ArtifactKind

if TYPE_CHECKING:
    from gateline.data import DatasetVersion
    from gateline.sdk.client import Client

Metrics = Annotated[dict[str, float], ArtifactKind.METRICS]
"""Names with numbers, logged to the run; NaN and infinities are kept. `-> Metrics`, or `-> Annotated[Metrics, "scores"]`."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A reference to a dataset version, as steps hand it on.

    Attributes:
        id: Name and number, such as `flights@1`.
        digest: Canonical digest of the version.

    Raises:
        InvalidInput: the id is no version id.
    """

    id: str
    digest: str

    def __post_init__(self) -> None:
        """Check the id."""
        split_version_id(self.id)

    @classmethod
    def of(cls, version: DatasetVersion) -> Dataset:
        """Return the reference to a version."""
        return cls(version.id, version.digest)

    def version(self, client: Client) -> DatasetVersion:
        """Return the whole record of the version from the server."""
        from gateline.sdk.data import dataset

        return dataset(client, *split_version_id(self.id))


@dataclass(frozen=True, slots=True)
class Model:
    """A model, as steps hand it on: a registered version, a logged model of a run, or a folder of files.

    Attributes:
        version: Id of a registered version, such as `flight-delay@3`; empty when it is not that.
        logged: Id of a logged model in MLflow, such as `m-…`; empty when it is not that.
        folder: Folder with the files; None when it is not that.

    Raises:
        InvalidInput: not exactly one of the three is given.
    """

    version: str = ""
    logged: str = ""
    folder: Path | None = None

    def __post_init__(self) -> None:
        """Check that it is one thing."""
        if sum([bool(self.version), bool(self.logged), self.folder is not None]) != 1:
            raise InvalidInput("A Model is one of a registered version, a logged model and a folder.", next_step="Model(folder=path)")
        if self.version:
            split_version_id(self.version)

    def as_dict(self) -> dict[str, Any]:
        """Return the reference for JSON; a folder's files are named by whoever keeps them."""
        return {"version": self.version} if self.version else {"logged": self.logged} if self.logged else {}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], folder: Path) -> Model:
        """Return the model that a reference describes; one made of files lies in the folder."""
        if document.get("version") or document.get("logged"):
            return cls(version=str(document.get("version", "")), logged=str(document.get("logged", "")))
        return cls(folder=folder)
