"""Models without what differs between any two trainings, equal or not: times, ids, places, and what only describes the environment.

| file | what does not count |
| --- | --- |
| `MLmodel` | ids of run and model, time, path, size, versions of libraries; the order of `skops_trusted_types`, which comes from a set |
| `requirements.txt`, `conda.yaml`, `python_env.yaml`, `registered_model_meta` | the file: the environment is compared on its own |
| a LightGBM text model | the block `parameters:`: how it was trained, such as threads; the trees follow from it and do count |
| a zip (`.skops`, `.npz`, PyTorch) | times and order of its files; in a skops schema the addresses of objects, which also name files |
| all others, pickles among them | nothing: their bytes are compared, and nothing is unpickled |
"""

from __future__ import annotations

import io
import re
import zipfile
from typing import TYPE_CHECKING

from gateline.kernel.canonical import digest, sha256_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

DESCRIPTIVE = frozenset({"requirements.txt", "conda.yaml", "python_env.yaml", "registered_model_meta"})
_MLMODEL_LINE = re.compile(
    rb"^\s*(run_id|model_uuid|model_id|utc_time_created|artifact_path|model_size_bytes|python_version|\w+_version):.*\n?", re.MULTILINE
)
_TRUSTED_TYPES = re.compile(rb"^( *)skops_trusted_types:\n((?:\1- .*\n)+)", re.MULTILINE)
_LIGHTGBM_PARAMETERS = re.compile(rb"\nparameters:.*?\nend of parameters\n", re.DOTALL)
_OBJECT_ID = re.compile(rb'"__id__": ?(\d+)')
_ZIP_BYTES_MAX = 1 << 30


def normalised(files: Mapping[str, bytes | str]) -> tuple[str, dict[str, str]]:
    """Return the digest of a model and those of its files that count.

    Args:
        files: For each file its bytes, or its SHA-256 when it is too large to be read: then its bytes are compared as they are.
    """
    found = {
        path: content if isinstance(content, str) else sha256_bytes(normal_bytes(path, content))
        for path, content in sorted(files.items())
        if path.rpartition("/")[2] not in DESCRIPTIVE
    }
    return digest("normalised-model/1", found), found


def normal_bytes(path: str, content: bytes) -> bytes:
    """Return the bytes of a file that count."""
    if path.rpartition("/")[2] == "MLmodel":
        return _TRUSTED_TYPES.sub(_sorted_items, _MLMODEL_LINE.sub(b"", content))
    if content.startswith(b"tree\n"):
        return _LIGHTGBM_PARAMETERS.sub(b"\n", content, count=1)
    if content.startswith(b"PK\x03\x04"):
        return _normal_zip(content)
    return content


def _sorted_items(found: re.Match[bytes]) -> bytes:
    return found[1] + b"skops_trusted_types:\n" + b"".join(sorted(found[2].splitlines(keepends=True)))


def _normal_zip(content: bytes) -> bytes:
    """Return names and digests of the files of a zip; the zip itself when it cannot be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(one.file_size for one in archive.infolist()) > _ZIP_BYTES_MAX:
                return content
            files = {one.filename: archive.read(one) for one in archive.infolist() if not one.is_dir()}
    except (zipfile.BadZipFile, RuntimeError, EOFError):
        return content
    numbers: dict[bytes, bytes] = {}
    if "schema.json" in files:
        for found in _OBJECT_ID.finditer(files["schema.json"]):
            numbers.setdefault(found[1], f"object-{len(numbers)}".encode())
        files["schema.json"] = re.sub(rb"\d{6,}", lambda one: numbers.get(one[0], one[0]), files["schema.json"])
    named = {
        re.sub(r"^\d{6,}", lambda one: numbers.get(one[0].encode(), one[0].encode()).decode(), name): body for name, body in files.items()
    }
    return "\n".join(f"{name} {sha256_bytes(body)}" for name, body in sorted(named.items())).encode()
