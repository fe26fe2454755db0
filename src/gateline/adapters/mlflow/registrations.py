"""Finishes registrations that were left half-done, in MLflow's registry or between it and our records. Each pass may be repeated.

A registration touches MLflow's database several times, and our records once. A process that dies in between leaves one of these:
a version without its ledger entry, a version that names its files and not its logged model, a logged model that does not know its
version, a version whose run is not frozen, or a version of our registry that MLflow does not show. A pass mends each, once the version
is a minute old: a younger one may still be under way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateline.adapters.mlflow.guard import INTERNAL_NAME, internally
from gateline.adapters.mlflow.projection import tell_model
from gateline.kernel.clock import SECOND
from gateline.kernel.errors import Conflict, GatelineError, NotFound, Unavailable
from gateline.kernel.run_names import VERSION_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateline.adapters.mlflow.guard import Guard
    from gateline.adapters.mlflow.loading import Loaded
    from gateline.adapters.mlflow.projection import Projection
    from gateline.kernel.clock import Clock

QUIET_SECONDS = 60  # since a version was made and its run ended: MLflow waits 20 seconds at most for a lock of its database
_MODEL_LOCATION = re.compile(r".*/models/(?P<model>m-[0-9a-f]{32})/artifacts/?")
_MILLISECOND = SECOND // 1_000
_ENDED_BADLY = frozenset({"FAILED", "KILLED"})
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A version of our registry: its id (`flights@3`), model and run."""

    id: str
    name: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A version of MLflow's registry."""

    name: str
    version: int
    source: str
    location: str
    run_id: str
    created_at: int

    @property
    def subject(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def model_id(self) -> str:
        found = _MODEL_LOCATION.fullmatch(self.location)
        return "" if found is None else found["model"]


class Registrations:
    """The reconciler of registrations.

    Args:
        loaded: Returns MLflow once it is loaded, None before that.
        projection: Shows our versions in MLflow.
        guard: Records what MLflow's registry did.
        clock: Tells how long a run has been quiet.
        freeze: Freezes a run in the name of a principal, or raises why it cannot be.
        frozen: Tells which of some runs are frozen.
        registered: Returns the versions of our registry.
    """

    def __init__(
        self,
        loaded: Callable[[], Loaded | None],
        projection: Projection,
        guard: Guard,
        clock: Clock,
        *,
        freeze: Callable[[str, str], object],
        frozen: Callable[[Iterable[str]], set[str]],
        registered: Callable[[], Iterable[Registered]],
    ) -> None:
        self._loaded = loaded
        self._projection = projection
        self._guard = guard
        self._clock = clock
        self._freeze = freeze
        self._frozen = frozen
        self._registered = registered
        self._told: dict[str, str] = {}
        self._whole: set[str] = set()
        self._settled: set[str] = set()
        self._projected: set[str] = set()

    def reconcile(self) -> None:
        """Mend what can be mended now; does nothing while MLflow is not loaded. What is whole is looked at once per process.

        Each version stands alone: one that cannot be mended now is logged and tried again in the next pass, one whose run or logged model
        MLflow no longer has is given up.
        """
        loaded = self._loaded()
        if loaded is None:
            return
        try:
            for version in self._fresh(loaded):
                if self._alone(version.subject, partial(self._mended, loaded, version)):
                    self._settled.add(version.subject)
        finally:
            self._project()

    def _alone(self, subject: str, mend: Callable[[], bool]) -> bool:
        """Return whether nothing more is to be done for one version; a failure is logged, once until it changes."""
        from mlflow.exceptions import MlflowException

        try:
            done = mend()
        except (MlflowException, GatelineError, SQLAlchemyError) as error:
            gone = isinstance(error, NotFound) or getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"
            if self._told.get(subject) != str(error):
                _log.warning("mlflow.registration_not_mended", version=subject, given_up=gone, failure=str(error))
            self._told[subject] = str(error)
            return gone
        self._told.pop(subject, None)
        return done

    def _mended(self, loaded: Loaded, version: _Shown) -> bool:
        """Make the version whole, then return whether it is settled. A registration that may be under way is left alone."""
        if 0 <= self._clock.now() - version.created_at * _MILLISECOND < QUIET_SECONDS * SECOND:
            return False
        if version.subject not in self._whole:
            self._make_whole(loaded, version)
            self._whole.add(version.subject)
        return self._is_settled(loaded, version)

    def _fresh(self, loaded: Loaded) -> list[_Shown]:
        """Return the versions of MLflow's registry that are not settled."""
        from mlflow.store.model_registry.dbmodels.models import SqlModelVersion as Version
        from sqlalchemy import select

        columns = (Version.name, Version.version, Version.source, Version.storage_location, Version.run_id, Version.creation_time)
        with loaded.registry.ManagedSessionMaker(read_only=True) as session:
            rows = session.execute(select(*columns).where(Version.current_stage != "Deleted_Internal").order_by(*columns[:2])).all()
        found = (
            _Shown(name=row[0], version=row[1], source=row[2] or "", location=row[3] or "", run_id=row[4] or "", created_at=row[5] or 0)
            for row in rows
        )
        return [one for one in found if one.subject not in self._settled]

    def _make_whole(self, loaded: Loaded, version: _Shown) -> None:
        """Give the version its source, its logged model the version, and the ledger its entry."""
        with internally():
            if version.model_id and version.source == version.location:
                loaded.registry.set_source(version.name, version.version, f"models:/{version.model_id}")
            facts = {"run_id": version.run_id, "source": version.source}
            if self._guard.changed_once("version created", subject=version.subject, facts=facts):
                _log.warning("mlflow.registration_resumed", version=version.subject)
            if version.model_id:
                tell_model(loaded, version.model_id, version.name, version.version)

    def _is_settled(self, loaded: Loaded, version: _Shown) -> bool:
        """Freeze the run when it has ended well and been quiet for a minute; return whether nothing more is to be done."""
        if not version.run_id or self._frozen([version.run_id]):
            return True
        info = loaded.tracking.get_run(version.run_id).info
        if info.status in _ENDED_BADLY:
            return True
        quiet_since = max(info.end_time or 0, version.created_at) * _MILLISECOND
        if info.end_time is None or self._clock.now() - quiet_since < QUIET_SECONDS * SECOND:
            return False
        try:
            self._freeze(INTERNAL_NAME, version.run_id)
        except (Conflict, Unavailable):
            return False
        except GatelineError as error:
            _log.warning("mlflow.registered_run_not_frozen", version=version.subject, run_id=version.run_id, failure=str(error))
        return True

    def _project(self) -> None:
        """Show in MLflow the versions of our registry that it does not show."""
        for version in self._registered():
            if version.id not in self._projected and self._alone(version.id, partial(self._show, version)):
                self._projected.add(version.id)

    def _show(self, version: Registered) -> bool:
        self._projection.version(version.name, version.run_id, tags={VERSION_TAG: version.id})
        return True
