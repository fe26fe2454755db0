"""The one place where MLflow writes artifact files on the server: sealed files are refused here, whatever route asked.

Imported by the loader only: it imports MLflow.
"""

from __future__ import annotations

import asyncio
import posixpath
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.utils.uri import validate_path_is_safe
from typing_extensions import override

from gateline.adapters.mlflow.seal import ArtifactOwner, owner_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateline.adapters.mlflow.guard import Guard
    from gateline.adapters.mlflow.registry_store import GateRegistryStore
    from gateline.adapters.mlflow.seal import RunSeal
    from gateline.adapters.mlflow.stores import GateTrackingStore


class SealedArtifactRepository(LocalArtifactRepository):
    """Artifacts in a local folder; those of frozen runs and of registered models cannot be written, replaced or deleted.

    Args:
        folder: Where artifacts are kept.
        guard: Refuses and records.
        seal: Tells which runs may still be written.
        tracking: Tells which run a logged model came from.
        registry: Tells which folders registered versions rest on.
    """

    def __init__(self, folder: Path, *, guard: Guard, seal: RunSeal, tracking: GateTrackingStore, registry: GateRegistryStore) -> None:
        super().__init__(folder.absolute().as_uri())
        self._guard = guard
        self._seal = seal
        self._tracking = tracking
        self._registry = registry

    @contextmanager
    def _writing(self, what: str, path: str) -> Iterator[None]:
        """Let the write happen within the block, or refuse it."""
        path = posixpath.normpath(validate_path_is_safe(path))
        owner = owner_of(path)
        if owner is None:
            self._guard.refuse(
                f"{what} '{path}'",
                subject=path,
                reason="files are kept in the folder of a run or of a logged model.",
                next_step="Log the file to a run.",
            )
        run_id = owner.run_id or self._tracking.get_logged_model(owner.model_id, allow_deleted=True).source_run_id or ""
        with ExitStack() as stack:
            if run_id:
                stack.enter_context(self._seal.writing(run_id, f"{what} '{path}'"))
            if self._is_registered(owner):
                self._seal.refuse_sealed(f"{what} '{path}'", subject=owner.id)
            yield

    def _is_registered(self, owner: ArtifactOwner) -> bool:
        """Return whether the path lies in the folder of a registered version, or holds one."""
        for location in self._registry.locations_with(owner.id):
            kept = owner_of(urlsplit(location).path)
            if kept is not None and kept.id == owner.id and _overlap(kept.rest, owner.rest):
                return True
        return False

    @override
    def log_artifact(self, local_file: Any, artifact_path: Any = None) -> Any:
        with self._writing("Writing artifact", posixpath.join(artifact_path or "", posixpath.basename(str(local_file)))):
            return super().log_artifact(local_file, artifact_path)

    @override
    def log_artifacts(self, local_dir: Any, artifact_path: Any = None) -> Any:
        with self._writing("Writing artifacts", artifact_path or "."):
            return super().log_artifacts(local_dir, artifact_path)

    @override
    def log_artifact_from_stream(self, stream: Any, artifact_file_name: Any, artifact_path: Any = None) -> Any:
        with self._writing("Writing artifact", posixpath.join(artifact_path or "", artifact_file_name)):
            return super().log_artifact_from_stream(stream, artifact_file_name, artifact_path)

    @override
    async def log_artifact_from_async_stream(self, chunks: Any, artifact_file_name: Any, artifact_path: Any = None) -> Any:
        stack = self._writing("Writing artifact", posixpath.join(artifact_path or "", artifact_file_name))
        await asyncio.to_thread(stack.__enter__)
        try:
            await super().log_artifact_from_async_stream(chunks, artifact_file_name, artifact_path)
        finally:
            await asyncio.to_thread(stack.__exit__, None, None, None)

    @override
    def delete_artifacts(self, artifact_path: Any = None) -> Any:
        with self._writing("Deleting artifact", artifact_path or "."):
            return super().delete_artifacts(artifact_path)


def _overlap(one: str, other: str) -> bool:
    """Return whether one of two folders or files lies in the other."""
    return not one or not other or one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")
