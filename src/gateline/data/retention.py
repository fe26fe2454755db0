"""Keeping dataset versions: pins, and removal of files that nothing keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateline.data import store
from gateline.data.keeping import Pin, Vacuum, VacuumRequest, reason_to_keep
from gateline.kernel.clock import HOUR
from gateline.kernel.errors import Conflict, Denied, GatelineError, InvalidInput, NotFound
from gateline.kernel.ids import new_id
from gateline.kernel.limits import TEXT_LENGTH_MAX
from gateline.lineage import Node

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gateline.data.model import DatasetVersion
    from gateline.data.objects import ObjectStore
    from gateline.data.service import Datasets
    from gateline.data.tables import Tables
    from gateline.kernel.clock import Instant
    from gateline.ledger import Ledger
    from gateline.lineage import Lineage


class Retention:
    """What keeps the files of dataset versions, and the only way in which they are removed."""

    def __init__(self, ledger: Ledger, datasets: Datasets, objects: ObjectStore, tables: Tables, lineage: Lineage) -> None:
        self._ledger = ledger
        self._datasets = datasets
        self._objects = objects
        self._tables = tables
        self._lineage = lineage

    def pin(
        self,
        actor: str,
        name: str,
        version: int,
        *,
        reason: str,
        until: Instant | None = None,
        legal_hold: bool = False,
        evidence: bool = False,
    ) -> Pin:
        """Keep the files of a version, which are hashed first.

        Args:
            actor: Name of the principal.
            name: Name of the dataset.
            version: Number of the version.
            reason: Why it is kept.
            until: When the pin ends by itself, UTC microseconds.
            legal_hold: Whether only an administrator may release it.
            evidence: Whether to copy the files into the object store too.

        Raises:
            InvalidInput: there is no reason, the end lies in the past, or a legal hold is given an end.
            NotFound: there is no such version, or a file of it is missing.
            IntegrityFailure: a file changed.
            StorageFull: there is no room for the copies.
        """
        found = self._datasets.get(name, version)
        self._check_pin(reason, until, legal_hold=legal_hold)
        for path in self._datasets.table_paths(found):
            if evidence:
                self._objects.put_file(path)
        with self._ledger.transaction(actor) as tx:
            store.lock(tx.session, name)
            if store.removal(tx.session, found.id) is not None:
                raise Conflict(
                    f"The table files of {found.id} were just removed by a vacuum.",
                    next_step=f"Run: gateline dataset reconstruct {found.id} --restore; then pin it.",
                )
            pin = Pin(
                id=new_id("pin"), version=found.id, reason=reason, until=until, legal_hold=legal_hold, evidence=evidence,
                created_at=tx.now, created_by=actor,
            )  # fmt: skip
            store.add_pin(tx.session, pin)
            files = [file.sha256 for file in found.files]
            tx.record("dataset.version.pinned", found.id, {"digest": found.digest, "files": files, **pin.as_dict()})
        return pin

    def unpin(self, actor: str, pin: str, *, reason: str, may_release_legal_hold: bool) -> Pin:
        """Release a pin.

        Raises:
            NotFound: there is no such pin.
            Conflict: it was released before.
            Denied: it is a legal hold, and the caller is no administrator.
            InvalidInput: there is no reason.
        """
        _check_reason(reason)
        with self._ledger.transaction(actor) as tx:
            found = store.find_pin(tx.session, pin)
            if found is None:
                raise NotFound(f"There is no pin '{pin}'.", next_step="See: gateline dataset pins.")
            if found.released_at is not None:
                raise Conflict(f"The pin {pin} of {found.version} was released before, by {found.released_by}.")
            if found.legal_hold and not may_release_legal_hold:
                raise Denied(
                    f"The pin {pin} of {found.version} is a legal hold; only an administrator (system:admin) may release it.",
                    next_step="Ask an administrator.",
                )
            released = store.release_pin(tx.session, pin, at=tx.now, by=actor, reason=reason)
            tx.record("dataset.version.unpinned", found.version, released.as_dict())
        return released

    def pins(self, name: str | None = None, *, everything: bool = False) -> list[Pin]:
        """Return the pins of a dataset, or of all, oldest first; without `everything` only those that hold now."""
        now = self._ledger.clock.now()
        with self._ledger.records.read() as session:
            return [pin for pin in store.pins(session, name) if everything or pin.holds(now)]

    def vacuum(self, actor: str, name: str, request: VacuumRequest, *, apply: bool = False) -> Vacuum:
        """Remove table files that nothing keeps; by default only say which.

        Kept are files of the newest state of the Delta table, of pinned versions, of versions that are young or newest, of versions
        that a registered model was made from (unless `rebuildable` is said), and of all that could not be rebuilt from raw rows. What is
        removed is recorded before it is gone.

        Raises:
            NotFound: there is no such dataset.
            InvalidInput: an age is negative.
        """
        if (request.older_than_days or 0) < 0 or request.orphan_hours < 0:
            raise InvalidInput("The ages of a vacuum must not be negative.", next_step="Give days and hours of at least 0.")
        self._datasets.get(name)
        if not apply:
            with self._ledger.records.read() as session:
                return self._plan(session, name, request)
        with self._ledger.transaction(actor) as tx:  # what is removed is on record before it is gone
            store.lock(tx.session, name)
            plan = self._plan(tx.session, name, request)
            for version, paths in plan.versions.items():
                store.add_removal(tx.session, version, at=tx.now, by=actor)
                tx.record("dataset.files.removed", version, {"paths": list(paths)})
        with self._ledger.transaction(actor) as tx:
            store.lock(tx.session, name)
            now = self._plan(tx.session, name, request)
            orphans = tuple(path for path in plan.orphans if path in now.orphans)
            versions = {one: paths for one, paths in plan.versions.items() if store.removal(tx.session, one) is not None}
            for path in {*orphans, *(path for paths in versions.values() for path in paths)}:
                self._tables.remove(name, path)
            if orphans:
                tx.record("dataset.orphans.removed", name, {"paths": list(orphans)})
        return replace(plan, applied=True, orphans=orphans, versions=versions)

    def _check_pin(self, reason: str, until: Instant | None, *, legal_hold: bool) -> None:
        _check_reason(reason)
        if until is not None and until <= self._ledger.clock.now():
            raise InvalidInput("The pin would end in the past.", next_step="Give a later end, or none.")
        if until is not None and legal_hold:
            raise InvalidInput("A legal hold ends only when it is released.", next_step="Leave out the end.")

    def _plan(self, session: Session, name: str, request: VacuumRequest) -> Vacuum:
        now = self._ledger.clock.now()
        versions = store.listed(session, name)
        pins = store.pins(session, name)
        kept = {
            one.id: reason_to_keep(
                one, request, now=now, pins=[pin for pin in pins if pin.version == one.id], newest=one is versions[-1],
                used=self._lineage.leads_to(Node(kind="dataset_version", id=one.id), "model_version"), rebuildable=self._rebuildable(one),
            )
            for one in versions
        }  # fmt: skip
        stored = self._tables.stored(name)
        rows = {file.path for file in store.spool_files(session, name)}
        needed = self._tables.head(name) | rows | {file.path for one in versions if kept[one.id] for file in one.files}
        losing: dict[str, tuple[str, ...]] = {
            one.id: paths
            for one in versions
            if not kept[one.id] and (paths := tuple(file.path for file in one.files if file.path in stored and file.path not in needed))
        }
        recorded = {file.path for one in versions for file in one.files}
        young = now - round(request.orphan_hours * HOUR)
        orphans = tuple(sorted(path for path, file in stored.items() if path not in recorded | needed and file.modified_at < young))
        gone = {*orphans, *(path for paths in losing.values() for path in paths)}
        return Vacuum(
            dataset=name, applied=False, orphans=orphans, versions=losing, kept={one: why for one, why in kept.items() if why},
            bytes=sum(stored[path].size_bytes for path in gone),
        )  # fmt: skip

    def _rebuildable(self, version: DatasetVersion) -> bool:
        try:
            self._objects.verify(version.raw.sha256)
        except GatelineError:
            return False
        return bool(version.logical_digest)


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > TEXT_LENGTH_MAX:
        raise InvalidInput(f"A reason is needed, of at most {TEXT_LENGTH_MAX:,} characters.", next_step="Say why.")
