"""The tables of dataset versions and of the files that hold them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ForeignKey, Index, Text, UniqueConstraint, delete, func, select, text
from sqlalchemy.orm import Mapped, mapped_column

from gateline.data.keeping import Pin
from gateline.data.model import DatasetVersion
from gateline.kernel.records import Json, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

_IDS_MAX = 500


class DatasetVersionRow(Row):
    """One dataset version, never changed; `request_digest` makes a repeated registration find it."""

    __tablename__ = "dataset_version"
    __table_args__ = (UniqueConstraint("name", "version", name="dataset_version_number"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    digest: Mapped[str] = mapped_column(Text)
    request_digest: Mapped[str] = mapped_column(Text, unique=True)
    schema: Mapped[list[Any]] = mapped_column(Json)
    row_count: Mapped[int]
    profile: Mapped[dict[str, Any]]
    options: Mapped[dict[str, Any]]
    provenance: Mapped[dict[str, Any]]
    made_of: Mapped[dict[str, Any]]
    raw: Mapped[dict[str, Any]]
    table_version: Mapped[int]
    logical_digest: Mapped[str] = mapped_column(Text)
    as_of: Mapped[int]
    created_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)


class DatasetFileRow(Row):
    """A Parquet file of a version's table, at its place in the order of the rows."""

    __tablename__ = "dataset_file"

    version_id: Mapped[str] = mapped_column(Text, ForeignKey("dataset_version.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(Text, index=True)
    size_bytes: Mapped[int]
    rows: Mapped[int]


class DatasetRemovalRow(Row):
    """Says that a vacuum removed the table files of a version, until they are restored."""

    __tablename__ = "dataset_removal"

    version_id: Mapped[str] = mapped_column(Text, ForeignKey("dataset_version.id"), primary_key=True)
    removed_at: Mapped[int]
    removed_by: Mapped[str] = mapped_column(Text)


class DatasetPinRow(Row):
    """A reason to keep the files of a version."""

    __tablename__ = "dataset_pin"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[str] = mapped_column(Text, ForeignKey("dataset_version.id"), index=True)
    reason: Mapped[str] = mapped_column(Text)
    until: Mapped[int | None]
    legal_hold: Mapped[bool]
    evidence: Mapped[bool]
    created_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)
    released_at: Mapped[int | None]
    released_by: Mapped[str] = mapped_column(Text)
    release_reason: Mapped[str] = mapped_column(Text)


class DatasetSpoolRow(Row):
    """That a dataset is fed with rows, and how far they have come: received up to `received`, in the Delta table up to `committed`."""

    __tablename__ = "dataset_spool"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    columns: Mapped[list[Any]]
    provenance: Mapped[dict[str, Any]]
    received: Mapped[int]
    committed: Mapped[int]
    opened_at: Mapped[int]
    opened_by: Mapped[str] = mapped_column(Text)


class DatasetBatchRow(Row):
    """A batch of rows under its idempotency key; `content` is there until the rows are in the Delta table."""

    __tablename__ = "dataset_batch"
    __table_args__ = (Index("dataset_batch_position", "name", "position", unique=True),)

    name: Mapped[str] = mapped_column(Text, ForeignKey("dataset_spool.name"), primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    position: Mapped[int]
    rows: Mapped[int]
    digest: Mapped[str] = mapped_column(Text)
    content: Mapped[list[Any] | None] = mapped_column(Json)
    received_at: Mapped[int]
    received_by: Mapped[str] = mapped_column(Text)


class DatasetSpoolFileRow(Row):
    """A Parquet file of the batches from `first` to `last`."""

    __tablename__ = "dataset_spool_file"

    name: Mapped[str] = mapped_column(Text, ForeignKey("dataset_spool.name"), primary_key=True)
    first: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last: Mapped[int]
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int]
    rows: Mapped[int]
    table_version: Mapped[int]


def lock(session: Session, name: str) -> None:
    """Let one transaction at a time decide about the files of a dataset; SQLite's write lock does the same."""
    if session.get_bind().dialect.name == "postgresql":
        key = int.from_bytes(hashlib.sha256(f"dataset:{name}".encode()).digest()[:8], signed=True)
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def add(session: Session, version: DatasetVersion, request_digest: str) -> None:
    """Insert a version."""
    fields = version.as_dict()
    files = fields.pop("files")
    session.add(DatasetVersionRow(**fields, request_digest=request_digest))
    session.flush()
    session.add_all(DatasetFileRow(version_id=version.id, position=place, **file) for place, file in enumerate(files))


def by_request(session: Session, request_digest: str) -> DatasetVersion | None:
    """Return the version that the same request made earlier."""
    return _first(session, select(DatasetVersionRow).where(DatasetVersionRow.request_digest == request_digest))


def find(session: Session, name: str, version: int | None) -> DatasetVersion | None:
    """Return one version, or the newest one."""
    query = select(DatasetVersionRow).where(DatasetVersionRow.name == name).order_by(DatasetVersionRow.version.desc())
    if version is not None:
        query = query.where(DatasetVersionRow.version == version)
    return _first(session, query.limit(1))


def with_file(session: Session, sha256: str) -> DatasetVersion | None:
    """Return a version whose table has a file with this digest."""
    of_file = select(DatasetFileRow.version_id).where(DatasetFileRow.sha256 == sha256).limit(1)
    return _first(session, select(DatasetVersionRow).where(DatasetVersionRow.id == of_file.scalar_subquery()))


def newest_number(session: Session, name: str) -> int:
    """Return the highest version number of the name; 0 when there is none."""
    return session.scalar(select(func.max(DatasetVersionRow.version)).where(DatasetVersionRow.name == name)) or 0


def listed(session: Session, name: str | None) -> list[DatasetVersion]:
    """Return all versions of a name, or of all names, by name and number."""
    query = select(DatasetVersionRow).order_by(DatasetVersionRow.name, DatasetVersionRow.version)
    if name is not None:
        query = query.where(DatasetVersionRow.name == name)
    return _versions(session, session.scalars(query).all())


def _first(session: Session, query: Select[DatasetVersionRow]) -> DatasetVersion | None:
    return next(iter(_versions(session, session.scalars(query).all())), None)


def _versions(session: Session, rows: Sequence[DatasetVersionRow]) -> list[DatasetVersion]:
    """Return the domain values of rows, each with its files."""
    files: dict[str, list[dict[str, Any]]] = {row.id: [] for row in rows}
    for start in range(0, len(rows), _IDS_MAX):
        ids = [row.id for row in rows[start : start + _IDS_MAX]]
        query = select(DatasetFileRow).where(DatasetFileRow.version_id.in_(ids))
        for one in session.scalars(query.order_by(DatasetFileRow.version_id, DatasetFileRow.position)):
            files[one.version_id].append({"path": one.path, "sha256": one.sha256, "size_bytes": one.size_bytes, "rows": one.rows})
    fields = [field for field in DatasetVersion.__dataclass_fields__ if field != "files"]
    return [DatasetVersion.from_dict({field: getattr(row, field) for field in fields} | {"files": files[row.id]}) for row in rows]


def add_pin(session: Session, pin: Pin) -> None:
    """Insert a pin."""
    session.add(DatasetPinRow(**pin.as_dict()))


def find_pin(session: Session, pin: str) -> Pin | None:
    """Return a pin by its id."""
    row = session.get(DatasetPinRow, pin)
    return None if row is None else _pin(row)


def release_pin(session: Session, pin: str, *, at: int, by: str, reason: str) -> Pin:
    """Note who released a pin, when and why."""
    row = session.get_one(DatasetPinRow, pin)
    row.released_at, row.released_by, row.release_reason = at, by, reason
    return _pin(row)


def pins(session: Session, name: str | None) -> list[Pin]:
    """Return the pins of a dataset's versions, or of all, oldest first."""
    query = select(DatasetPinRow).join(DatasetVersionRow, DatasetVersionRow.id == DatasetPinRow.version)
    if name is not None:
        query = query.where(DatasetVersionRow.name == name)
    return [_pin(row) for row in session.scalars(query.order_by(DatasetPinRow.created_at, DatasetPinRow.id))]


def removal(session: Session, version_id: str) -> DatasetRemovalRow | None:
    """Return when and by whom the table files of a version were removed; None when they were not."""
    return session.get(DatasetRemovalRow, version_id)


def add_removal(session: Session, version_id: str, *, at: int, by: str) -> None:
    """Note that the table files of a version are being removed."""
    session.merge(DatasetRemovalRow(version_id=version_id, removed_at=at, removed_by=by))


def remove_removal(session: Session, version_id: str) -> None:
    """Note that the table files of a version are there again."""
    session.execute(delete(DatasetRemovalRow).where(DatasetRemovalRow.version_id == version_id))


def _pin(row: DatasetPinRow) -> Pin:
    return Pin(**{field: getattr(row, field) for field in Pin.__dataclass_fields__})


def spool(session: Session, name: str) -> DatasetSpoolRow | None:
    """Return how far the rows of a dataset have come; None when it is not fed with rows."""
    return session.get(DatasetSpoolRow, name)


def spool_files(session: Session, name: str) -> Sequence[DatasetSpoolFileRow]:
    """Return the files of a dataset's rows, in the order of the rows."""
    return session.scalars(select(DatasetSpoolFileRow).where(DatasetSpoolFileRow.name == name).order_by(DatasetSpoolFileRow.first)).all()


class KnownBatch(NamedTuple):
    """Where a batch stands in the order of acknowledgement, and the digest of its rows."""

    position: int
    digest: str


def batches(session: Session, name: str, keys: Sequence[str]) -> dict[str, KnownBatch]:
    """Return the batches of a dataset that have come under these keys."""
    found: dict[str, KnownBatch] = {}
    for start in range(0, len(keys), _IDS_MAX):
        mine = (DatasetBatchRow.name == name) & DatasetBatchRow.key.in_(keys[start : start + _IDS_MAX])
        for key, position, digest in session.execute(
            select(DatasetBatchRow.key, DatasetBatchRow.position, DatasetBatchRow.digest).where(mine)
        ):
            found[key] = KnownBatch(position, digest)
    return found


def waiting_until(session: Session, row: DatasetSpoolRow, *, batches: int, rows: int) -> int:
    """Return the position up to which the oldest batches that are not in the Delta table make up so many batches, or so many rows."""
    mine = (DatasetBatchRow.name == row.name) & (DatasetBatchRow.position > row.committed)
    query = select(DatasetBatchRow.position, DatasetBatchRow.rows).where(mine).order_by(DatasetBatchRow.position).limit(batches)
    last, total = row.committed, 0
    for position, count in session.execute(query):
        last, total = position, total + count
        if total >= rows:
            break
    return last


def pending_batches(session: Session, row: DatasetSpoolRow, last: int) -> Sequence[DatasetBatchRow]:
    """Return the batches up to a position that are not in the Delta table, in the order in which they came."""
    mine = (DatasetBatchRow.name == row.name) & DatasetBatchRow.position.between(row.committed + 1, last)
    return session.scalars(select(DatasetBatchRow).where(mine).order_by(DatasetBatchRow.position)).all()
