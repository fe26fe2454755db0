"""Dataset versions: registering, finding and checking them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from gateline.data import rules, store
from gateline.data.contract_gate import Passed, require_contract
from gateline.data.model import Column, ColumnType, DatasetVersion, DatasetVersionId, FileFormat, Provenance, ReadOptions, StoredFile
from gateline.kernel.errors import Conflict, GatelineError, InvalidInput, NotFound
from gateline.kernel.names import valid_name, version_id
from gateline.lineage import Node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from gateline.data.objects import ObjectStore
    from gateline.ledger import Ledger, Transaction
    from gateline.lineage import Lineage

_ATTEMPTS = 5
_ROW_GROUP_ROWS = 131_072


class Datasets:
    """The dataset versions of an installation. A version is never changed or removed."""

    def __init__(self, ledger: Ledger, objects: ObjectStore, lineage: Lineage) -> None:
        self._ledger = ledger
        self._objects = objects
        self._lineage = lineage

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

        Raises:
            InvalidInput: name, options or provenance are wrong, or the file cannot be read as declared.
            ContractBroken: the table breaks the contract in force for the dataset.
            NotFound: the raw file is not stored.
            IntegrityFailure: the raw file changed under its digest.
            StorageFull: the disk is full.
        """
        valid_name("dataset", name)
        options = _options(format, null_values, types or {})
        provenance = Provenance(source=source, licence=licence, description=description, purpose=purpose)
        rules.check_provenance(provenance)
        raw = self._objects.verify(file)
        request = rules.request_digest(name, file, options, provenance)
        with self._ledger.records.read() as session:
            known = store.by_request(session, request)
        if known is not None:
            return known
        table, schema, row_count, profile, passed = self._build(raw, options, name)
        content = rules.manifest(raw=raw, table=table, schema=schema, row_count=row_count, options=options, provenance=provenance)
        for _ in range(_ATTEMPTS):
            try:
                with self._ledger.transaction(actor) as tx:
                    known = store.by_request(tx.session, request)
                    if known is not None:
                        return known
                    number = store.newest_number(tx.session, name) + 1
                    version = DatasetVersion(
                        id=DatasetVersionId(version_id(name, number)), name=name, version=number, digest=rules.manifest_digest(content),
                        schema=schema, row_count=row_count, profile=profile, options=options, provenance=provenance, raw=raw, table=table,
                        created_at=tx.now, created_by=actor,
                    )  # fmt: skip
                    self._add(tx, version, request, contract=passed.confirm(tx))
                return version
            except IntegrityError:
                continue  # another process took the number; look again
        raise Conflict(f"Dataset '{name}' is being registered by others.", next_step="Run the command again.")

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

    def table_path(self, version: DatasetVersion) -> Path:
        """Return the Parquet table of a version after hashing it again.

        Raises:
            NotFound: the table is not stored.
            IntegrityFailure: its bytes changed.
        """
        return self._objects.verified_path(version.table.sha256)

    def verify(self, name: str, version: int | None = None) -> DatasetVersion:
        """Hash raw file and table of a version again, and its manifest; returns the version when all agree.

        Raises:
            NotFound: version or a file is missing.
            IntegrityFailure: a file or the record differs from its digest; the first fault found is named.
        """
        found = self.get(name, version)
        for part, stored in (("raw file", found.raw), ("table", found.table)):
            try:
                self._objects.verify(stored.sha256)
            except GatelineError as error:
                raise type(error)(
                    f"The {part} of {found.id} is not what was registered. {error.message}", next_step=error.next_step, facts=error.facts
                ) from error
        rules.check_record(found)
        return found

    def _build(
        self, raw: StoredFile, options: ReadOptions, name: str
    ) -> tuple[StoredFile, tuple[Column, ...], int, dict[str, Any], Passed]:
        """Return the stored table of the raw file with schema, rows and profile. Equal input gives equal bytes with one Polars version."""
        from gateline.data.profile import profile_table
        from gateline.data.reading import columns_of, read_table

        frame = read_table(self._objects.path(raw.sha256), options, name=f"The file of dataset '{name}' ({raw.sha256[:12]}…)")
        passed = require_contract(self._ledger, name, frame)
        content = io.BytesIO()
        frame.write_parquet(content, compression="zstd", compression_level=3, statistics=True, row_group_size=_ROW_GROUP_ROWS)
        table = self._objects.put_with(lambda file: file.write(content.getbuffer()))
        return table, columns_of(frame), frame.height, profile_table(frame), passed

    def _add(self, tx: Transaction, version: DatasetVersion, request: str, *, contract: str) -> None:
        store.add(tx.session, version, request)
        tx.session.flush()
        summary = {
            "digest": version.digest, "raw_sha256": version.raw.sha256, "table_sha256": version.table.sha256,
            "row_count": version.row_count, "contract": contract, **version.provenance.as_dict(),
        }  # fmt: skip
        tx.record("dataset.version.registered", version.id, summary)
        tx.publish("dataset.version.registered", {"id": version.id, "digest": version.digest})
        raw = Node(kind="raw_file", id=version.raw.sha256, label=version.source[:200])
        self._lineage.link(tx, raw, Node(kind="dataset_version", id=version.id, label=version.id), "read")


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
