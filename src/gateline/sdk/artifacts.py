"""Results of steps as files, and back: what a value is kept as, under the digest of its content.

| kind | kept as |
| --- | --- |
| frame | Parquet, Zstandard, without statistics; read back as the library that wrote it, or as the one the next step is annotated with |
| file | the bytes of the file |
| json | canonical JSON; NaN and infinities are refused |
| metrics | canonical JSON of an object of numbers; those that JSON cannot carry as "NaN", "Infinity" and "-Infinity" |
| dataset | canonical JSON with id and digest of the version |
| model | canonical JSON with the id of a registered or logged model, or with the SHA-256 of each file of a folder, kept beside it |

Equal values give equal bytes, so that a step whose inputs came out as before is not run again.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from gateline.data import DatasetVersion
from gateline.kernel.canonical import canonical_bytes, sha256_bytes, sha256_file
from gateline.kernel.errors import IntegrityFailure, InvalidInput, StepFailed, TooLarge
from gateline.kernel.files import storage_errors
from gateline.kernel.limits import UPLOAD_BYTES_MAX
from gateline.pipelines import ArtifactKind, StepOutput, plain_value
from gateline.sdk.frames import read_frame, write_frame
from gateline.sdk.outputs import kind_of_value
from gateline.sdk.references import Dataset, Model

_RESULT_BYTES_MAX = 64 << 20
_MODEL_FILES_MAX = 10_000
_Parts = tuple[Any, dict[str, Path]]
"""A JSON document, and further files that it names."""
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A value as it is kept.

    Attributes:
        kind: What it is.
        path: The file with its content.
        sha256: Digest of that content.
        size_bytes: Its length.
        parts: Further files that the content names, by digest: those of a model folder.
    """

    kind: ArtifactKind
    path: Path
    sha256: str
    size_bytes: int
    parts: Mapping[str, Path] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return kind, sha256 and size_bytes for JSON."""
        return {"kind": str(self.kind), "sha256": self.sha256, "size_bytes": self.size_bytes}


def pack(value: Any, output: StepOutput, step: str, path: Path) -> Packed:
    """Write a value as the artifact of an output.

    Args:
        value: What the step returned for it.
        output: Its name, and its kind where the step declares one.
        step: Name of the step, for messages.
        path: The file to write. A `file` is not copied: it stays where the step wrote it.

    Raises:
        StepFailed: the value is not of the declared kind, or cannot be kept; the message says what to return.
        StorageFull: the disk is full.
    """
    document = pack_document(value, output, step)
    with storage_errors(path), _kept_as(kind := _kind(value, output), output, step):
        if document is None:
            content = _write_file(value) if kind is ArtifactKind.FILE else _write_frame(value, path)
            found = Packed(kind=kind, path=content, sha256=sha256_file(content), size_bytes=content.stat().st_size)
        else:
            size = path.write_bytes(document.content)
            found = Packed(kind=kind, path=path, sha256=sha256_bytes(document.content), size_bytes=size, parts=document.parts)
    if found.size_bytes > UPLOAD_BYTES_MAX:
        raise StepFailed(
            f"Output '{output.name}' of step '{step}' has {found.size_bytes:,} bytes; {UPLOAD_BYTES_MAX:,} are allowed.",
            next_step="Return it in parts, or register it as a dataset and return that.",
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A value that is kept as JSON.

    Attributes:
        kind: What it is.
        content: Its canonical JSON.
        parts: As of `Packed`.
    """

    kind: ArtifactKind
    content: bytes
    parts: Mapping[str, Path]


def pack_document(value: Any, output: StepOutput, step: str) -> Document | None:
    """Return a value as JSON, without a file; None when it is of a kind that is kept otherwise. Raises StepFailed as `pack` does."""
    kind = _kind(value, output)
    if kind not in _DOCUMENTS:
        return None
    with _kept_as(kind, output, step):
        document, parts = _DOCUMENTS[kind](value)
        return Document(kind=kind, content=canonical_bytes(document), parts=parts)


def _kind(value: Any, output: StepOutput) -> ArtifactKind:
    return kind_of_value(value) if output.kind is None else output.kind


@contextmanager
def _kept_as(kind: ArtifactKind, output: StepOutput, step: str) -> Iterator[None]:
    """Say of which step an output cannot be kept."""
    try:
        yield
    except (InvalidInput, TooLarge) as error:
        what = f"Output '{output.name}' of step '{step}' cannot be kept as {kind}: {error.message}"
        raise StepFailed(what, next_step=error.next_step) from error


def unpack(kind: ArtifactKind, content: Path, part: Callable[[str, Path], Any], *, wanted: Any = None) -> Any:
    """Return the value that an artifact holds.

    Args:
        kind: What it is.
        content: The file with its content, whose digest was checked. Its name is unique for this content.
        part: Writes the file with a digest to a path, for the files of a model folder, such as `Client.download`. They come to lie in
            the folder `<content>.files`, which is kept and not written again when it is complete.
        wanted: The annotation of the parameter that it is read for; it decides between Polars, pandas and Arrow.

    Raises:
        IntegrityFailure: the content is not what its kind says.
    """
    if kind is ArtifactKind.FILE:
        return content
    try:
        if kind is ArtifactKind.FRAME:
            return read_frame(content, wanted)
        document = json.loads(content.read_bytes())
        if kind is ArtifactKind.METRICS:
            return {name: _SPECIAL[value] if isinstance(value, str) else value for name, value in document.items()}
        if kind is ArtifactKind.DATASET:
            return Dataset(document["id"], document["digest"])
        return _read_model(document, content, part) if kind is ArtifactKind.MODEL else document
    except (ValueError, KeyError, TypeError, AttributeError, InvalidInput) as error:
        raise IntegrityFailure(
            f"The artifact {content.name} is no {kind}: {error}.", next_step="Run the step that made it again."
        ) from error


def _write_file(value: Any) -> Path:
    """Return the file; it stays where it is."""
    if not isinstance(value, PurePath):
        raise InvalidInput(f"it is a {type(value).__name__}.", next_step="Return the pathlib.Path of a file.")
    if Path(value).is_dir():
        raise InvalidInput(f"{value} is a folder.", next_step="Return a file, or Model(folder=path) for the folder of a model.")
    if not Path(value).is_file():
        raise InvalidInput(f"there is no file {value}.", next_step="Write it before you return its path.")
    return Path(value)


def _write_frame(value: Any, path: Path) -> Path:
    write_frame(value, path)
    return path


def _json(value: Any) -> _Parts:
    return plain_value(value, "value", bytes_max=_RESULT_BYTES_MAX), {}


def _metrics(value: Any) -> _Parts:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"it is a {type(value).__name__}.", next_step="Return a dictionary of names with numbers.")
    found: dict[str, Any] = {}
    for name, one in value.items():
        number = one.item() if getattr(one, "shape", None) == () else one
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise InvalidInput(f"metric {name!r:.80} is a {type(one).__name__}.", next_step="Return numbers; NaN is one.")
        special = isinstance(number, float) and not math.isfinite(number)
        found[name] = next(text for text, same in _SPECIAL.items() if str(same) == str(float(number))) if special else number
    return _json(found)


def _dataset(value: Any) -> _Parts:
    reference = Dataset.of(value) if isinstance(value, DatasetVersion) else value
    if not isinstance(reference, Dataset):
        raise InvalidInput(f"it is a {type(value).__name__}.", next_step="Return a Dataset or a DatasetVersion.")
    return {"id": reference.id, "digest": reference.digest}, {}


def _model(value: Any) -> _Parts:
    """Return a reference, or the digests of a folder's files and these files."""
    if not isinstance(value, Model):
        raise InvalidInput(
            f"it is a {type(value).__name__}.", next_step="Return Model(folder=path), Model(version=id) or Model(logged=id)."
        )
    if value.folder is None:
        return value.as_dict(), {}
    if not value.folder.is_dir():
        raise InvalidInput(f"{value.folder} is no folder.", next_step="Write the files of the model before you return it.")
    files = {one.relative_to(value.folder).as_posix(): one for one in sorted(value.folder.rglob("*")) if one.is_file()}
    if not 1 <= len(files) <= _MODEL_FILES_MAX:
        raise InvalidInput(f"{value.folder} holds {len(files):,} files; 1 to {_MODEL_FILES_MAX:,} are allowed.")
    outside = [name for name, one in files.items() if not one.resolve().is_relative_to(value.folder.resolve())]
    if outside:
        raise InvalidInput(f"{outside[0]} leads out of {value.folder}.", next_step="Copy the file instead of linking it.")
    digests = {name: sha256_file(one) for name, one in files.items()}
    return {"files": digests}, {digest: files[name] for name, digest in digests.items()}


def _read_model(document: Mapping[str, Any], content: Path, part: Callable[[str, Path], Any]) -> Model:
    folder = content.with_name(f"{content.name}.files")
    files = document.get("files", {})
    wrong = [name for name in files if PurePath(name).is_absolute() or ".." in PurePath(name).parts]
    if wrong:
        raise InvalidInput(f"'{wrong[0]}' is no path inside a folder")
    if files and not folder.is_dir():
        with tempfile.TemporaryDirectory(prefix=f".{content.name}.", dir=content.parent) as temporary:
            partial = Path(temporary) / "files"
            for name, digest in files.items():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                part(digest, partial / name)
            try:
                partial.replace(folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise
    return Model.from_dict(document, folder)


_DOCUMENTS: dict[ArtifactKind, Callable[[Any], _Parts]] = {
    ArtifactKind.JSON: _json,
    ArtifactKind.METRICS: _metrics,
    ArtifactKind.DATASET: _dataset,
    ArtifactKind.MODEL: _model,
}
