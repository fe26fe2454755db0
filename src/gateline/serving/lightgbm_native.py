"""LightGBM through its C library alone: no `import lightgbm`, no SciPy, no pandas in the process that serves.

One row goes through `LGBM_BoosterPredictForMatSingleRowFast`, which gives bit for bit what `Booster.predict` gives and takes about
four microseconds. Its last two arguments are (length: int64*, result: double*) in this order; swapped, it returns success and rubbish.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from gateline.kernel.errors import ConfigurationError, IntegrityFailure, InvalidInput, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

_PREDICT_NORMAL = 0
_FLOAT64 = 1
_ALL_ITERATIONS = -1
_ROW_MAJOR = 1
_ONE_THREAD = b"num_threads=1"


def library_path() -> Path:
    """Return where the installed lightgbm package keeps its C library, without importing the package.

    Raises:
        ConfigurationError: lightgbm is not installed, or its library is missing.
    """
    found = importlib.util.find_spec("lightgbm")
    for folder in (found.submodule_search_locations or []) if found is not None else []:
        for candidate in (Path(folder) / "lib" / "lib_lightgbm.so", Path(folder) / "lib" / "lib_lightgbm.dylib"):
            if candidate.exists():
                return candidate
    raise ConfigurationError("The C library of LightGBM is not installed.", next_step="Install the package 'lightgbm'.")


class _Library:
    """The functions we call, once with the interpreter lock released (slow calls) and once with it held (the row path)."""

    def __init__(self, path: Path) -> None:
        slow = ctypes.CDLL(str(path))
        held = ctypes.PyDLL(str(path))
        pointer, integer, number = ctypes.c_void_p, ctypes.c_int, ctypes.c_int32
        slow.LGBM_GetLastError.restype = ctypes.c_char_p
        slow.LGBM_BoosterLoadModelFromString.argtypes = [ctypes.c_char_p, pointer, pointer]
        slow.LGBM_BoosterGetNumFeature.argtypes = [pointer, pointer]
        slow.LGBM_BoosterGetNumClasses.argtypes = [pointer, pointer]
        slow.LGBM_BoosterFree.argtypes = [pointer]
        slow.LGBM_FastConfigFree.argtypes = [pointer]
        slow.LGBM_BoosterPredictForMatSingleRowFastInit.argtypes = [
            pointer, integer, integer, integer, integer, number, ctypes.c_char_p, pointer,
        ]  # fmt: skip
        slow.LGBM_BoosterPredictForMat.argtypes = [
            pointer, pointer, integer, number, number, integer, integer, integer, integer, ctypes.c_char_p, pointer, pointer,
        ]  # fmt: skip
        held.LGBM_BoosterPredictForMatSingleRowFast.argtypes = [pointer, pointer, pointer, pointer]
        self.slow = slow
        self.predict_row = held.LGBM_BoosterPredictForMatSingleRowFast

    def check(self, status: int) -> None:
        """Raise what the library says when a call failed."""
        if status != 0:
            reason = bytes(self.slow.LGBM_GetLastError()).decode(errors="replace")
            raise Unavailable(f"LightGBM refused the call: {reason}.")


@functools.cache
def _library() -> _Library:
    return _Library(library_path())


class NativeBooster:
    """A LightGBM model that scores rows of float64, NaN meaning missing.

    Not thread-safe: the row path owns one input and one output buffer.

    Args:
        text: The model as `Booster.model_to_string` writes it; from outside it must have passed `check_model_text` first.

    Raises:
        IntegrityFailure: the library does not accept the text.
        InvalidInput: the model has more than one output.
    """

    def __init__(self, text: str) -> None:
        self._handle = ctypes.c_void_p()
        self._fast = ctypes.c_void_p()
        self._library = _library()
        slow, iterations = self._library.slow, ctypes.c_int()
        try:
            self._library.check(slow.LGBM_BoosterLoadModelFromString(text.encode(), ctypes.byref(iterations), ctypes.byref(self._handle)))
        except Unavailable as error:
            raise IntegrityFailure(f"The text is not a LightGBM model. {error.message}") from error
        self.feature_count = self._count(slow.LGBM_BoosterGetNumFeature)
        outputs = self._count(slow.LGBM_BoosterGetNumClasses)
        if outputs != 1:
            raise InvalidInput(f"The model gives {outputs} outputs per row; only models with one output are served.")
        self._prepare_row()

    def _count(self, function: ctypes._NamedFuncPointer) -> int:
        found = ctypes.c_int()
        self._library.check(function(self._handle, ctypes.byref(found)))
        return found.value

    def _prepare_row(self) -> None:
        self._library.check(
            self._library.slow.LGBM_BoosterPredictForMatSingleRowFastInit(
                self._handle, _PREDICT_NORMAL, 0, _ALL_ITERATIONS, _FLOAT64, self.feature_count, _ONE_THREAD, ctypes.byref(self._fast)
            )
        )
        self._row = bytearray(8 * self.feature_count)
        self._pack = struct.Struct(f"{self.feature_count}d").pack_into
        self._length = ctypes.c_int64()
        self._result = ctypes.c_double()
        self._row_keeper = (ctypes.c_char * len(self._row)).from_buffer(self._row)
        self._arguments = (
            self._fast.value, ctypes.addressof(self._row_keeper), ctypes.addressof(self._length), ctypes.addressof(self._result),
        )  # fmt: skip
        self._predict = self._library.predict_row

    def score_row(self, values: Sequence[float]) -> float:
        """Return the model's output for one row: its `feature_count` columns in the model's order.

        Raises:
            Unavailable: LightGBM refused the call.
        """
        self._pack(self._row, 0, *values)
        status = self._predict(*self._arguments)
        if status != 0:
            self._library.check(status)
        return self._result.value

    def score_matrix(self, matrix: NDArray[np.float64], *, threads: int = 1) -> NDArray[np.float64]:
        """Return the output of every row of a matrix of shape (rows, feature_count), in the model's column order.

        Args:
            matrix: float64, NaN where a value is missing.
            threads: OpenMP threads; the result does not depend on it.

        Raises:
            InvalidInput: the matrix has another width.
        """
        import numpy as np

        rows = np.ascontiguousarray(matrix, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.feature_count:
            raise InvalidInput(f"The matrix has shape {rows.shape}; the model takes {self.feature_count} columns.")
        scores = np.empty(len(rows), dtype=np.float64)
        if len(rows) == 0:
            return scores
        length = ctypes.c_int64()
        self._library.check(
            self._library.slow.LGBM_BoosterPredictForMat(
                self._handle, rows.ctypes.data, _FLOAT64, len(rows), self.feature_count, _ROW_MAJOR, _PREDICT_NORMAL, 0, _ALL_ITERATIONS,
                f"num_threads={max(1, threads)}".encode(), ctypes.byref(length), scores.ctypes.data,
            )
        )  # fmt: skip
        if length.value != len(rows):
            raise Unavailable(f"LightGBM returned {length.value} outputs for {len(rows)} rows.")
        return scores

    def __del__(self) -> None:
        library = getattr(self, "_library", None)
        if library is None:
            return
        if self._fast.value:
            library.slow.LGBM_FastConfigFree(self._fast)
        if self._handle.value:
            library.slow.LGBM_BoosterFree(self._handle)
