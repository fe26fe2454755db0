"""Dataset versions: registering, finding and checking them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from gateline.data import rules, store
from gateline.data.building import Given, build
from gateline.data.contracts.gate import require_contract
from gateline.data.model import (
    ColumnType,
    DatasetVersion,
    DatasetVersionId,
    FileFormat,
    Provenance,
    ReadOptions,
    Source,
    SourceKind,
    TableFile,
)
from gateline.kernel.clock import iso
from gateline.kernel.errors import Conflict, GatelineError, IntegrityFailure, InvalidInput, NotFound
from gateline.kernel.limits import TEXT_LENGTH_MAX
from gateline.kernel.names import valid_name, version_id
from gateline.lineage import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from sqlalchemy.orm import Session

    from gateline.data.objects import ObjectStore
    from gateline.data.tables import Commit, Tables
    from gateline.kernel.clock import Instant
    from gateline.ledger import Ledger, Transaction
    from gateline.lineage import Lineage

    Checks = list[tuple[str, Callable[[], object]]]

_ATTEMPTS = 5


class Datasets:
    """The dataset versions of an installation. A version is never changed or removed."""

    def __init__(self, ledger: Ledger, objects: ObjectStore, lineage: Lineage, tables: Tables) -> None:
        self._ledger = ledger
        self._objects = objects
        self._lineage = lineage
        self._tables = tables

    def register(
        self,
        actor: str,
        name: str,
        *,
        file: str,
        format: FileFormat | str,
        source: str,
        licence: str,
        description: str = "",
        null_values: Sequence[str] = (),
        types: Mapping[str, ColumnType | str] | None = None,
        purpose: str = "",
        legal_basis: str = "",
        collected_from: Instant | None = None,
        collected_to: Instant | None = None,
        origin: str = "",
    ) -> DatasetVersion:
        """Make a stored raw file a version of the dataset, or return the version that the same call made before.

        Args:
            actor: Name of the principal.
            name: Name of the dataset.
            file: SHA-256 of the raw file in the object store.
            format: How the file is written.
            source: Where it came from.
            licence: Under which terms it may be used.
            description: What it holds.
            null_values: Texts of a CSV file that mean "missing".
            types: Column types that must hold; other columns are inferred.
            purpose: What the data was collected for.
            legal_basis: By what right personal data in it is processed.
            collected_from: Begin of the time in which it was collected, UTC microseconds.
            collected_to: End of that time.
            origin: Where the file lay on the machine of the caller, so that it can be looked for again.

        Raises:
            InvalidInput: name, options or provenance are wrong, or the file cannot be read as declared.
            ContractBroken: the table breaks the contract in force for the dataset.
            NotFound: the raw file is not stored.
            IntegrityFailure: the raw file changed under its digest.
            StorageFull: the disk is full.
        """
        valid_name("dataset", name)
        options = _options(format, null_values, types or {})
        provenance = Provenance(
            source=source, licence=licence, description=description, purpose=purpose, legal_basis=legal_basis,
            collected_from=collected_from, collected_to=collected_to,
        )  # fmt: skip
        rules.check_provenance(provenance)
        if len(origin) > TEXT_LENGTH_MAX:
            raise InvalidInput(f"'origin' is longer than {TEXT_LENGTH_MAX:,} characters.", next_step="Leave it out.")
        as_of = self._ledger.clock.now()
        raw = self._objects.verify(file)
        return self.make(
            actor, Given(name=name, raw=raw, made_of=Source(origin=origin), options=options, provenance=provenance, as_of=as_of)
        )

    def make(self, actor: str, given: Given, commit: Commit | None = None) -> DatasetVersion:
        """Write the table of stored raw rows, unless it was committed before, and record it as the next version; or return the version
        that the same rows made earlier.

        Raises:
            Conflict: the dataset is fed with rows, which a file would replace.
        """
        from gateline.data.profile import profile_table

        with self._ledger.records.read() as session:
            known = store.by_request(session, given.request)
            _check_feed(session, given)
        if known is not None:
            return known
        made = build(self._objects, given)
        passed = require_contract(self._ledger, given.name, made.frame)
        content = rules.manifest(
            raw=given.raw, made_of=given.made_of, options=given.options, provenance=given.provenance, schema=made.schema,
            row_count=made.frame.height, logical_digest=made.logical_digest,
        )  # fmt: skip
        profile = profile_table(made.frame)
        commit = commit or self._tables.replace(given.name, made.frame, made.schema)
        self._tables.check_presence(given.name, commit.files)
        for _ in range(_ATTEMPTS):
            try:
                with self._ledger.transaction(actor) as tx:
                    store.lock(tx.session, given.name)
                    known = store.by_request(tx.session, given.request)
                    if known is not None:
                        return known
                    _check_feed(tx.session, given)
                    number = store.newest_number(tx.session, given.name) + 1
                    version = DatasetVersion(
                        id=DatasetVersionId(version_id(given.name, number)), name=given.name, version=number,
                        digest=rules.manifest_digest(content), logical_digest=made.logical_digest, schema=made.schema,
                        row_count=made.frame.height, profile=profile, options=given.options, provenance=given.provenance,
                        made_of=given.made_of, raw=given.raw, files=commit.files, table_version=commit.table_version, as_of=given.as_of,
                        created_at=tx.now, created_by=actor,
                    )  # fmt: skip
                    self._add(tx, version, given.request, contract=passed.confirm(tx))
                self._check_survival(version)
                return version
            except IntegrityError:
                continue  # another process took the number; look again
        raise Conflict(f"Dataset '{given.name}' is being registered by others.", next_step="Run the command again.")

    def _check_survival(self, version: DatasetVersion) -> None:
        """Refuse when a vacuum removed files between the last look at them and the record, which keeps them from now on."""
        if gone := self._tables.missing(version.name, version.files):
            raise Conflict(
                f"{version.id} is registered, but a vacuum removed its files {', '.join(gone)} in the same moment.",
                next_step=f"Run: gateline dataset reconstruct {version.id} --restore.",
            )

    def get(self, name: str, version: int | None = None) -> DatasetVersion:
        """Return a version, by default the newest.

        Raises:
            NotFound: there is no such dataset or version.
        """
        with self._ledger.records.read() as session:
            found = store.find(session, name, version)
        if found is None:
            wanted = name if version is None else version_id(name, version)
            raise NotFound(f"There is no dataset version '{wanted}'.", next_step="See: gateline dataset list.", facts={"dataset": wanted})
        return found

    def list(self, name: str | None = None) -> list[DatasetVersion]:
        """Return every version of a dataset, or of all, by name and number."""
        with self._ledger.records.read() as session:
            return store.listed(session, name)

    def profile(self, name: str, version: int | None = None) -> dict[str, Any]:
        """Return the profile of a version; raises as `get` does."""
        return self.get(name, version).profile

    def table_paths(self, version: DatasetVersion) -> tuple[Path, ...]:
        """Return the Parquet files of a version, in the order of its rows, each after hashing it again.

        Raises:
            NotFound: a file is missing.
            IntegrityFailure: its bytes changed.
        """
        return tuple(self._table_file(version, file) for file in version.files)

    def file_path(self, sha256: str) -> Path:
        """Return a stored file, or a file of a table, by its digest, after hashing it again.

        Raises:
            InvalidInput: the text is no SHA-256.
            NotFound: no such file is stored.
            IntegrityFailure: its bytes changed.
        """
        try:
            return self._objects.verified_path(sha256)
        except NotFound:
            with self._ledger.records.read() as session:
                version = store.with_file(session, sha256)
            if version is None:
                raise
        return self._table_file(version, next(file for file in version.files if file.sha256 == sha256))

    def verify(self, name: str, version: int | None = None) -> DatasetVersion:
        """Hash raw file and table files of a version again, and its manifest; returns the version when all agree.

        Raises:
            NotFound: there is no such version.
            IntegrityFailure: a file is missing, or a file or the record differs from its digest; every fault is named.
        """
        found = self.get(name, version)
        if faults := self.faults(found):
            raise IntegrityFailure(
                f"{found.id} is not what was registered: {' '.join(faults)}",
                next_step=f"See: gateline dataset reconstruct {found.id} --restore.",
                facts={"version": found.id, "faults": [*faults]},
            )
        return found

    def faults(self, version: DatasetVersion) -> tuple[str, ...]:
        """Return what is wrong with files and record of a version, a sentence for each fault; nothing when all is well."""
        checks: Checks = [("raw file", lambda: self._objects.verified_path(version.raw.sha256))]
        checks += [(f"table file {place}", partial(self._table_file, version, file)) for place, file in enumerate(version.files, 1)]
        entries = self._ledger.entries(subject=version.id, kind="dataset.version.registered", limit=1)
        checks += [("record", lambda: rules.check_record(version, entries[0].payload if entries else {}))]
        return tuple(fault for part, check in checks if (fault := _fault(part, check)))

    def _table_file(self, version: DatasetVersion, file: TableFile) -> Path:
        """Return the path of a table file; from the object store when it was kept there alone, or when the table has lost it."""
        if not file.path:
            return self._objects.verified_path(file.sha256)
        try:
            return self._tables.path(version.name, file)
        except NotFound as missing:
            try:
                return self._objects.verified_path(file.sha256)
            except NotFound:
                raise NotFound(
                    f"{version.id}: {missing.message}{self._removal(version)}",
                    next_step=f"Restore it with: gateline dataset reconstruct {version.id} --restore.",
                    facts=missing.facts,
                ) from missing

    def _removal(self, version: DatasetVersion) -> str:
        """Return by whom and when the table files were removed, as a sentence; nothing when they should be there."""
        with self._ledger.records.read() as session:
            removed = store.removal(session, version.id)
        return "" if removed is None else f" A vacuum by {removed.removed_by} removed it at {iso(removed.removed_at)}."

    def _add(self, tx: Transaction, version: DatasetVersion, request: str, *, contract: str) -> None:
        store.add(tx.session, version, request)
        tx.session.flush()
        tx.record("dataset.version.registered", version.id, {**rules.registration_entry(version), "contract": contract})
        tx.publish("dataset.version.registered", {"id": version.id, "digest": version.digest})
        raw = Node(kind="raw_file", id=version.raw.sha256, label=version.source[:200])
        self._lineage.link(tx, raw, Node(kind="dataset_version", id=version.id, label=version.id), "read")


def _check_feed(session: Session, given: Given) -> None:
    if given.made_of.kind is not SourceKind.SPOOL and store.spool(session, given.name) is not None:
        raise Conflict(f"Dataset '{given.name}' is fed with rows; a file would replace them.", next_step="Choose another name.")


def _fault(part: str, check: Callable[[], object]) -> str:
    try:
        check()
    except GatelineError as error:
        return f"The {part}: {error.message}"
    return ""


def _options(format: str, null_values: Sequence[str], types: Mapping[str, ColumnType | str]) -> ReadOptions:
    mistakes = []
    if format not in list(FileFormat):
        mistakes.append(f"'{format}' is no file format; use one of {', '.join(FileFormat)}")
    mistakes += [
        f"'{kind}', declared for column '{name}', is no type; use one of {', '.join(ColumnType)}"
        for name, kind in types.items()
        if kind not in list(ColumnType)
    ]
    if mistakes:
        raise InvalidInput(f"The dataset cannot be read as declared: {'; '.join(mistakes)}.")
    return ReadOptions(
        format=FileFormat(format),
        null_values=tuple(sorted(set(null_values))),
        types={name: ColumnType(kind) for name, kind in types.items()},
    )
