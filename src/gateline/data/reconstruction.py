"""Building dataset versions again, from their sources or from the rows that were kept, and comparing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateline.data import store
from gateline.data.building import build_again, build_from_rows, differences, moved_rows
from gateline.data.diff import diff_versions
from gateline.data.model import DatasetVersionId, SourceKind
from gateline.data.rebuilt import BuildFrom, Reconstruction, SourceReading, SourceState
from gateline.data.tables import encode
from gateline.kernel.canonical import sha256_bytes
from gateline.kernel.clock import iso
from gateline.kernel.errors import ConfigurationError, Denied, GatelineError, IntegrityFailure, InvalidInput, NotFound, Unavailable

if TYPE_CHECKING:
    import polars as pl

    from gateline.data.building import Made
    from gateline.data.model import DatasetVersion, Source, TableFile
    from gateline.data.objects import ObjectStore
    from gateline.data.service import Datasets
    from gateline.data.sources import Sources
    from gateline.data.tables import Tables
    from gateline.ledger import Ledger

MISSING = "missing"
CHANGED = "changed"
_MADE_OF = {SourceKind.SQL: "a query", SourceKind.DELTA: "a Delta table", SourceKind.SPOOL: "rows that were sent"}
_KEEP = "The rows that were kept are not touched by this; build from them with: --from kept."


class Reconstructions:
    """Builds dataset versions again; each outcome is recorded."""

    def __init__(self, ledger: Ledger, datasets: Datasets, objects: ObjectStore, tables: Tables, sources: Sources) -> None:
        self._ledger = ledger
        self._datasets = datasets
        self._objects = objects
        self._tables = tables
        self._sources = sources

    def reconstruct(
        self,
        actor: str,
        name: str,
        version: int,
        *,
        build_from: BuildFrom = BuildFrom.AUTO,
        file: str = "",
        may_fetch: bool = False,
        restore: bool = False,
    ) -> Reconstruction:
        """Build a version again as its record says, and compare logical digests; the outcome is recorded.

        Args:
            actor: Name of the principal.
            name: Name of the dataset.
            version: Number of the version.
            build_from: `sources` reads the source again; `kept` takes the raw rows; `auto` looks at the source, and takes the raw rows when
                that does not give the version.
            file: For a version of an uploaded file, what the caller found where it lay: the SHA-256 of the file, uploaded again,
                `missing`, or `changed`; empty when he did not look.
            may_fetch: Whether the caller may have the server read from its connections.
            restore: Whether to write missing or damaged table files again: from the copies of a pin with evidence, else from the rows
                that were built, when those give the very bytes that are recorded.

        Raises:
            InvalidInput: a file is given for a version that was not made of one, or when only the kept rows are asked for.
            NotFound: there is no such version, or, when only the kept rows are asked for, they are missing.
            IntegrityFailure: likewise, they changed under their digest.
            Denied: the source is asked for, and the caller may not have the server read from its connections.
            StorageFull: there is no room for the restored files.
        """
        found = self._datasets.get(name, version)
        if file:
            _check_file(found, build_from)
        digest = found.logical_digest or self._stored_digest(found)
        reading, there = None, None
        if build_from is not BuildFrom.KEPT:
            reading, there = self._read_source(actor, found, digest, file, may_fetch=may_fetch, needed=build_from is BuildFrom.SOURCES)
        made, used, different = self._choose(found, digest, build_from, reading, there, restore=restore)
        sound = None if different else made
        restored, lost = self._restore(found, sound) if restore else ((), ())
        with self._ledger.transaction(actor) as tx:
            store.lock(tx.session, name)
            if restore and not lost:
                store.remove_removal(tx.session, found.id)
            outcome = Reconstruction(
                version=found.id, equal=not different, built_from=used, differences=different, source=reading, restored=restored,
                unrestorable=lost,
            )  # fmt: skip
            tx.record("dataset.version.reconstructed", found.id, outcome.record() | {"logical_digest": made.logical_digest if made else ""})
        if restore and not lost and self._tables.missing(name, [file for file in found.files if file.path]):
            self._restore(found, sound)  # a vacuum that was under way took them again; it takes none of a version that is not marked
        return outcome

    def _choose(
        self,
        version: DatasetVersion,
        digest: str,
        build_from: BuildFrom,
        reading: SourceReading | None,
        there: Made | None,
        *,
        restore: bool,
    ) -> tuple[Made | None, BuildFrom, tuple[str, ...]]:
        """Return the table that counts, what it was built from, and how it differs from the version."""
        equal = reading is not None and reading.state is SourceState.EQUAL
        if reading is not None and (build_from is BuildFrom.SOURCES or (equal and not restore)):
            return there, BuildFrom.SOURCES, () if equal else (reading.differences or (reading.sentence,))
        try:
            kept = build_again(self._objects, version)
        except (NotFound, IntegrityFailure) as error:
            if reading is None:
                raise
            if equal:
                return there, BuildFrom.SOURCES, ()
            return None, BuildFrom.KEPT, (error.message,)
        return kept, BuildFrom.KEPT, differences(version, kept, digest)

    def _read_source(
        self, actor: str, version: DatasetVersion, digest: str, file: str, *, may_fetch: bool, needed: bool
    ) -> tuple[SourceReading, Made | None]:
        """Return what became of the source, and the table that it gives now, if it gives one."""
        source = version.made_of
        if source.kind is SourceKind.SPOOL:
            sentence = "its rows were sent in batches, and are kept nowhere but here"
            return SourceReading(state=SourceState.NOT_RECORDED, sentence=sentence, next_step="Build from them with: --from kept."), None
        if source.kind is SourceKind.FILE:
            return self._read_file(actor, version, digest, file)
        if not may_fetch:
            sentence = f"the connection '{source.connection}' was not read: that takes the permission dataset:fetch"
            if needed:
                raise Denied(f"{version.id}: {sentence}.", next_step="Ask an operator, or build with: --from kept.")
            return SourceReading(state=SourceState.NOT_READ, sentence=sentence), None
        return self._read_connection(version, digest)

    def _read_file(self, actor: str, version: DatasetVersion, digest: str, file: str) -> tuple[SourceReading, Made | None]:
        origin, sha256 = version.made_of.origin, version.raw.sha256
        if not file and not origin:
            sentence = "the record does not say where its file lay"
            return SourceReading(state=SourceState.NOT_RECORDED, sentence=sentence, next_step="Name the file with: --file PATH."), None
        if not file:
            sentence = f"nobody looked at {origin}, which lies on the machine of whoever registered it"
            return SourceReading(state=SourceState.NOT_READ, sentence=sentence, next_step="Name the file with: --file PATH."), None
        if file == MISSING:
            sentence = f"there is no file {origin} on the machine of {actor}"
            step = f"If it lies elsewhere, name it with: --file PATH. {_KEEP}"
            return SourceReading(state=SourceState.GONE, sentence=sentence, next_step=step), None
        if file == CHANGED:
            found = (f"the file {origin} on the machine of {actor} has another SHA-256 than {sha256}",)
            step = f"To see what differs, name it with: --file {origin}."
            return SourceReading(state=SourceState.DIFFERENT, sentence="the file changed", differences=found, next_step=step), None
        raw = self._objects.verify(file)
        changed = () if file == sha256 else (f"SHA-256 {file} instead of {sha256}",)
        what = "the file changed" if changed else f"the file is the one that was registered, SHA-256 {sha256}"
        try:
            return self._compared(version, digest, build_again(self._objects, version, raw), what, changed)
        except GatelineError as error:
            return _unreadable(what, (*changed, error.message)), None

    def _read_connection(self, version: DatasetVersion, digest: str) -> tuple[SourceReading, Made | None]:
        source, now = version.made_of, self._ledger.clock.now()
        wanted = replace(source, as_of=None) if source.kind is SourceKind.DELTA else source
        try:
            rows, read = self._sources.read(wanted, now=now)
        except (Unavailable, ConfigurationError) as error:
            return SourceReading(state=SourceState.UNREACHABLE, sentence=error.message, next_step=error.next_step or "Try again."), None
        except GatelineError as error:
            step = f"See whether it was moved, and whether its history is kept. {_KEEP}"
            return SourceReading(state=SourceState.GONE, sentence=error.message, next_step=step), None
        what = _described(source, read.table_id)
        try:
            made = build_from_rows(rows, version)
        except GatelineError as error:
            return _unreadable(what, (error.message,)), None
        restored = self._keep_raw(version, rows)
        reading, made = self._compared(version, digest, made, what, ())
        return replace(reading, raw_restored=restored), made

    def _compared(
        self, version: DatasetVersion, digest: str, made: Made, what: str, changed: tuple[str, ...]
    ) -> tuple[SourceReading, Made]:
        """Return how the rows of a source compare with the version; a changed file with equal rows is equal, and says so."""
        from gateline.data.profile import profile_table

        found = differences(version, made, digest)
        if not found:
            return SourceReading(state=SourceState.EQUAL, sentence="; ".join((what, *changed))), made
        named = replace(version, id=DatasetVersionId(f"{version.id} as its source holds it now"))
        now = replace(named, schema=made.schema, row_count=made.frame.height, profile=profile_table(made.frame))
        then = self._rows(version)
        if then is not None and then.schema == made.frame.schema:
            new, gone = moved_rows(then, made.frame)
            found = (f"{new:,} rows are only in the source now, {gone:,} only in the version", *found)
        reading = SourceReading(
            state=SourceState.DIFFERENT, sentence=what, differences=(*changed, *found), diff=diff_versions(version, now),
            next_step=f"To work with what it holds now, make it the next version. {_KEEP}",
        )  # fmt: skip
        return reading, made

    def _rows(self, version: DatasetVersion) -> pl.DataFrame | None:
        """Return the rows of the version from whatever of it is still whole; None when nothing is."""
        import polars as pl

        try:
            return pl.read_parquet(list(self._datasets.table_paths(version)))
        except GatelineError:
            pass
        try:
            return build_again(self._objects, version).frame
        except GatelineError:
            return None

    def _keep_raw(self, version: DatasetVersion, rows: pl.DataFrame) -> bool:
        """Put raw rows that were lost back into the object store when the source gives their very bytes; return whether it did."""
        try:
            self._objects.verify(version.raw.sha256)
        except GatelineError:
            if sha256_bytes(content := encode(rows)) == version.raw.sha256:
                self._objects.put_bytes(content)
                return True
        return False

    def _stored_digest(self, version: DatasetVersion) -> str:
        """Return the logical digest of the stored rows, for a version from before it was recorded."""
        import polars as pl

        from gateline.data.logical import logical_digest

        return logical_digest(pl.read_parquet(list(self._datasets.table_paths(version))), version.schema)

    def _restore(self, version: DatasetVersion, made: Made | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Write missing and damaged table files again; return the paths that were written, and those for which the bytes are lost."""
        restored, lost, start = [], [], 0
        for file in version.files:
            rows, start = slice(start, start + file.rows), start + file.rows
            if self._is_sound(version, file):
                continue
            content = self._copy(file)
            if content is None and made is not None:
                content = encode(made.frame[rows])
            if content is None or sha256_bytes(content) != file.sha256 or not file.path:
                lost.append(file.path or file.sha256)
                continue
            self._tables.restore(version.name, file, content)
            restored.append(file.path)
        return tuple(restored), tuple(lost)

    def _is_sound(self, version: DatasetVersion, file: TableFile) -> bool:
        try:
            if file.path:
                self._tables.path(version.name, file)
            else:
                self._objects.verify(file.sha256)
        except GatelineError:
            return False
        return True

    def _copy(self, file: TableFile) -> bytes | None:
        """Return the bytes that a pin with evidence copied into the object store, if they are there and sound."""
        try:
            return self._objects.verified_path(file.sha256).read_bytes()
        except GatelineError:
            return None


def _check_file(version: DatasetVersion, build_from: BuildFrom) -> None:
    """Refuse a file that would not be looked at."""
    kind = version.made_of.kind
    if kind is not SourceKind.FILE:
        raise InvalidInput(f"{version.id} was made of {_MADE_OF[kind]}, and a file is given.", next_step="Leave out --file.")
    if build_from is BuildFrom.KEPT:
        raise InvalidInput("The kept rows are asked for, and a file is given.", next_step="Leave out --file, or build with: --from auto.")


def _described(source: Source, table_id: str) -> str:
    """Return what was read, as of when."""
    if source.kind is SourceKind.DELTA:
        what = f"version {source.table_version} of the Delta table '{source.path}' of '{source.connection}'"
        other = f"; it is another table now, with the id {table_id} instead of {source.table_id}"
        return what + (other if source.table_id and table_id != source.table_id else "")
    what = f"the recorded query on '{source.connection}'"
    if source.as_of is not None:
        return f"{what}, as of {iso(source.as_of)}"
    return f"{what}, which has no :as_of, so that the source can be compared only as it is now"


def _unreadable(what: str, found: tuple[str, ...]) -> SourceReading:
    return SourceReading(state=SourceState.DIFFERENT, sentence=what, differences=found, next_step=_KEEP)
