"""What steps return is kept as files that read back as the same value; what cannot be kept says what to return instead."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from gateline import Dataset, Metrics, Model
from gateline.data import DatasetVersion
from gateline.kernel.canonical import sha256_bytes
from gateline.kernel.errors import IntegrityFailure, InvalidInput, StepFailed
from gateline.pipelines import ArtifactKind, StepOutput
from gateline.sdk.artifacts import Packed, pack, unpack
from gateline.sdk.outputs import kind_of_type, outputs_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable


def packed(value: Any, path: Path, kind: ArtifactKind | None = None) -> Packed:
    return pack(value, StepOutput(name="result", kind=kind), "fit", path)


def refuse(sha256: str, to: Path) -> None:
    """No file is asked for."""
    raise AssertionError(sha256, to)


def back(value: Any, folder: Path, kind: ArtifactKind | None = None, wanted: Any = None) -> Any:
    """The value after it was kept and read back."""
    found = packed(value, folder / "artifact", kind)
    assert found.sha256 == sha256_bytes(found.path.read_bytes())
    assert found.size_bytes == found.path.stat().st_size
    return unpack(found.kind, found.path, refuse, wanted=wanted)


POLARS = pl.DataFrame({"a": [1, None, 3], "b": ["x", "é", None], "c": [0.5, math.nan, math.inf], "d": [[1], [], None]})
PANDAS = pd.DataFrame({"a": [1.5, None], "b": ["x", None]}, index=pd.Index([10, 20], name="key"))
ARROW = pa.table({"a": [1, 2], "b": [{"x": 1}, None]}).replace_schema_metadata({"unit": "m"})


def test_frames_come_back_as_the_library_that_wrote_them(tmp_path: Path):
    assert back(POLARS, tmp_path).equals(POLARS)
    pd.testing.assert_frame_equal(back(PANDAS, tmp_path), PANDAS)
    assert back(ARROW, tmp_path).equals(ARROW, check_metadata=True)


@pytest.mark.parametrize("frame", [POLARS, PANDAS, ARROW], ids=["polars", "pandas", "arrow"])
@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        (pl.DataFrame, pl.DataFrame),
        ("pl.DataFrame", pl.DataFrame),
        (pd.DataFrame, pd.DataFrame),
        ("pd.DataFrame", pd.DataFrame),
        (pa.Table, pa.Table),
        ("pa.Table", pa.Table),
    ],
    ids=str,
)
def test_frames_are_read_as_the_next_step_is_annotated(tmp_path: Path, frame: Any, wanted: Any, kind: Any):
    assert type(back(frame, tmp_path, wanted=wanted)) is kind


@pytest.mark.parametrize("frame", [POLARS, PANDAS, ARROW, POLARS.clear()], ids=["polars", "pandas", "arrow", "empty"])
def test_equal_frames_have_equal_bytes(tmp_path: Path, frame: Any):
    first, second = packed(frame, tmp_path / "a"), packed(frame, tmp_path / "b")
    assert first.kind is ArtifactKind.FRAME
    assert first.sha256 == second.sha256
    again = unpack(first.kind, first.path, refuse)
    assert packed(again, tmp_path / "c").sha256 == first.sha256, "also after it was read back"


@pytest.mark.parametrize(
    "value", [None, True, 3, 0.1, "é", [1, [2]], {"b": 1, "a": {"c": None}}, "x" * 2_000_000], ids=lambda value: str(value)[:20]
)
def test_json_comes_back(tmp_path: Path, value: Any):
    assert back(value, tmp_path) == value
    assert packed(value, tmp_path / "a").kind is ArtifactKind.JSON


def test_json_is_plain_and_canonical(tmp_path: Path):
    found = packed({"b": np.float64(0.5), "a": (np.int64(1), np.bool_(True))}, tmp_path / "a")
    assert found.path.read_bytes() == b'{"a":[1,true],"b":0.5}'


def test_metrics_keep_what_json_cannot_carry(tmp_path: Path):
    value = {"loss": math.nan, "ratio": math.inf, "gain": -math.inf, "auc": np.float32(0.5), "rows": 7}
    found = back(value, tmp_path, ArtifactKind.METRICS)
    assert math.isnan(found.pop("loss"))
    assert found == {"ratio": math.inf, "gain": -math.inf, "auc": 0.5, "rows": 7}
    assert json.loads((tmp_path / "artifact").read_bytes())["ratio"] == "Infinity"


def test_a_file_is_its_bytes(tmp_path: Path):
    path = tmp_path / "model.txt"
    path.write_bytes(b"tree")
    found = packed(path, tmp_path / "artifact")
    assert (found.kind, found.sha256, found.path) == (ArtifactKind.FILE, sha256_bytes(b"tree"), path)
    assert unpack(found.kind, found.path, refuse) == path


def test_a_model_is_a_reference_or_a_folder_of_files(tmp_path: Path):
    for model in (Model(version="flight-delay@3"), Model(logged="m-1234")):
        assert back(model, tmp_path) == model
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}")
    (folder / "data" / "weights").write_bytes(b"\x00\x01")
    found = packed(Model(folder=folder), tmp_path / "artifact")
    assert {path.name for path in found.parts.values()} == {"MLmodel", "weights"}
    fetched: list[str] = []

    def part(sha256: str, to: Path) -> None:
        fetched.append(sha256)
        shutil.copyfile(found.parts[sha256], to)

    again = unpack(found.kind, found.path, part)
    assert again.folder is not None
    assert (again.folder / "data" / "weights").read_bytes() == b"\x00\x01"
    assert packed(again, tmp_path / "again").sha256 == found.sha256, "content addressed, wherever the folder lies"
    unpack(found.kind, found.path, part)
    assert sorted(fetched) == sorted(found.parts), "a complete folder is not fetched again"


def test_a_fetch_that_breaks_off_leaves_no_half_model(tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(name)
    found = packed(Model(folder=folder), tmp_path / "artifact")
    calls: list[Path] = []

    def part(sha256: str, to: Path) -> None:
        calls.append(to)
        if len(calls) == 2:
            raise ConnectionError("gone")
        shutil.copyfile(found.parts[sha256], to)

    with pytest.raises(ConnectionError):
        unpack(found.kind, found.path, part)
    assert sorted(one.name for one in unpack(found.kind, found.path, part).folder.iterdir()) == ["a", "b"]


def test_a_dataset_is_its_id_and_digest(tmp_path: Path):
    value = Dataset("flights@3", "d" * 64)
    assert back(value, tmp_path) == value
    with pytest.raises(InvalidInput, match="is not a version id"):
        Dataset("flights", "d")
    with pytest.raises(InvalidInput, match="one of a registered version, a logged model and a folder"):
        Model(version="a@1", logged="m-1")


class Booster:
    """Nothing that can be kept."""


K = ArtifactKind
CANNOT: dict[str, tuple[Any, ArtifactKind | None, str]] = {
    "object": (Booster(), None, "cannot be kept as json: The value is a Booster"),
    "NaN": ({"auc": [1.0, math.nan]}, None, r"The value at \['auc'\]\[1\] is NaN"),
    "no frame": ([1], K.FRAME, "cannot be kept as frame: it is a builtins.list.*Polars, pandas or Arrow"),
    "lazy": (POLARS.lazy(), K.FRAME, r"lazy frame.*collect\(\)"),
    "lazy by value": (POLARS.lazy(), None, "The value is a LazyFrame"),
    "array": (np.zeros(2), None, r"is a ndarray.*tolist\(\)"),
    "mixed column": (pd.DataFrame({"a": [1, "x", b"y"]}), None, "Parquet cannot hold it.*Give each column one type"),
    "objects in polars": (pl.DataFrame({"a": [Booster()]}, schema={"a": pl.Object}), None, "Parquet cannot hold it"),
    "no path": ("model.txt", K.FILE, "it is a str.*pathlib.Path"),
    "no file": (Path("/nowhere/model.txt"), None, "there is no file /nowhere/model.txt"),
    "folder": (Path("/"), None, r"/ is a folder.*Model\(folder=path\)"),
    "metrics of text": ({"auc": "high"}, K.METRICS, "metric 'auc' is a str"),
    "metrics of truth": ({"auc": True}, K.METRICS, "metric 'auc' is a bool"),
    "no metrics": ([0.5], K.METRICS, "it is a list.*names with numbers"),
    "no model": ("flight-delay@3", K.MODEL, r"it is a str.*Model\(folder=path\)"),
    "no model folder": (Model(folder=Path("/nowhere")), None, "/nowhere is no folder"),
    "no dataset": ("flights@1", K.DATASET, "it is a str.*Return a Dataset"),
    "large": ("x" * (65 << 20), None, "bytes; 67,108,864 are allowed"),
}


@pytest.mark.parametrize("name", CANNOT)
def test_what_cannot_be_kept_names_the_step_and_what_to_return(tmp_path: Path, name: str):
    value, kind, message = CANNOT[name]
    with pytest.raises((StepFailed), match=message) as error:
        packed(value, tmp_path / "artifact", kind)
    assert error.value.message.startswith("Output 'result' of step 'fit' cannot be kept as")
    assert error.value.next_step


def test_links_that_lead_out_of_a_model_folder_are_refused(tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "passwords").symlink_to("/etc/passwd")
    with pytest.raises(StepFailed, match="passwords leads out of"):
        packed(Model(folder=folder), tmp_path / "artifact")
    (folder / "passwords").unlink()
    with pytest.raises(StepFailed, match="holds 0 files"):
        packed(Model(folder=folder), tmp_path / "artifact")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (K.FRAME, b"PAR1 but not really"),
        (K.FRAME, b""),
        (K.JSON, b"{"),
        (K.JSON, b"\xff"),
        (K.METRICS, b"[1]"),
        (K.METRICS, b'{"a":"much"}'),
        (K.DATASET, b"{}"),
        (K.DATASET, b'{"id":"flights","digest":"d"}'),
        (K.MODEL, b"[]"),
        (K.MODEL, b'{"files":{"../out":"d"}}'),
        (K.MODEL, b'{"files":{"/etc/out":"d"}}'),
        (K.MODEL, b'{"files":["a"]}'),
    ],
    ids=str,
)
def test_damaged_content_is_an_integrity_failure(tmp_path: Path, kind: ArtifactKind, content: bytes):
    path = tmp_path / "artifact"
    path.write_bytes(content)
    with pytest.raises(IntegrityFailure, match=f"artifact is no {kind}.*Run the step that made it again"):
        unpack(kind, path, refuse)
    assert not (tmp_path.parent / "out").exists()


def returns_frame() -> pl.DataFrame: ...
def returns_pandas() -> pd.DataFrame | None: ...
def returns_table() -> Annotated[pa.Table, "rows"]: ...
def returns_path() -> Annotated[Path, "booster"]: ...
def returns_model() -> Model: ...
def returns_dataset() -> Annotated[Dataset, "pinned"]: ...
def returns_version() -> DatasetVersion: ...
def returns_metrics() -> Annotated[Metrics, "scores"]: ...
def returns_numbers() -> dict[str, list[float]]: ...
def returns_choice() -> Literal["a", "b"] | int: ...
def returns_nothing() -> None: ...
def returns_any() -> Any: ...
def returns_iterable() -> Iterable[int]: ...
def returns_scalar() -> np.int64: ...
def returns_hidden() -> dt.date: ...
def returns_plain_tuple() -> tuple[int, str]: ...
def returns_no_annotation(): ...
def returns_two() -> tuple[Annotated[pl.DataFrame, "train"], Annotated[Metrics, "scores"]]: ...


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (returns_frame, [("result", K.FRAME)]),
        (returns_pandas, [("result", None)]),
        (returns_table, [("rows", K.FRAME)]),
        (returns_path, [("booster", K.FILE)]),
        (returns_model, [("result", K.MODEL)]),
        (returns_dataset, [("pinned", K.DATASET)]),
        (returns_version, [("result", K.DATASET)]),
        (returns_metrics, [("scores", K.METRICS)]),
        (returns_numbers, [("result", K.JSON)]),
        (returns_choice, [("result", K.JSON)]),
        (returns_nothing, [("result", K.JSON)]),
        (returns_any, [("result", None)]),
        (returns_iterable, [("result", None)]),
        (returns_scalar, [("result", None)]),
        (returns_hidden, [("result", None)]),
        (returns_plain_tuple, [("result", K.JSON)]),
        (returns_no_annotation, [("result", None)]),
        (returns_two, [("train", K.FRAME), ("scores", K.METRICS)]),
    ],
)
def test_outputs_are_read_from_the_annotation(function: Any, expected: Any):
    assert [(one.name, one.kind) for one in outputs_of(function, "fit")] == expected


def wrong_type() -> Booster: ...
def wrong_lazy() -> pl.LazyFrame: ...
def wrong_hidden() -> Annotated[dt.date, "day"]: ...
def wrong_half() -> tuple[Annotated[int, "a"], int]: ...
def wrong_single() -> tuple[Annotated[int, "a"]]: ...
def wrong_twice() -> tuple[Annotated[int, "a"], Annotated[int, "a"]]: ...
def wrong_name() -> Annotated[int, "Train Rows"]: ...
def wrong_array() -> tuple[Annotated[int, "a"], Annotated[Booster, "b"]]: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (wrong_type, r"Output 'result' of step 'fit' is annotated as .*Booster, which is not kept between steps.*Return a frame"),
        (wrong_lazy, r"Output 'result' of step 'fit' is a lazy frame.*collect\(\)"),
        (wrong_hidden, "return annotation of step 'fit'.*cannot be looked up.*not only for type checkers"),
        (wrong_half, "names 1 of the 2 values"),
        (wrong_single, "names 1 of the 1 values"),
        (wrong_twice, "two outputs the same name: a, a"),
        (wrong_name, "Step 'fit': The output name 'Train Rows' is not allowed"),
        (wrong_array, "Output 'b' of step 'fit' is annotated as"),
    ],
)
def test_annotations_that_cannot_hold_are_refused(function: Any, message: str):
    with pytest.raises(InvalidInput, match=message):
        outputs_of(function, "fit")


def test_kinds_of_types_and_of_values_agree(tmp_path: Path):
    file = tmp_path / "file"
    file.write_bytes(b"x")
    values = [POLARS, PANDAS, ARROW, file, {"a": 1}, [1], "x", 1, 0.5, None, Dataset("a@1", "d"), Model(logged="m")]
    for value in values:
        assert kind_of_type(type(value)) is packed(value, tmp_path / "artifact").kind, type(value)
