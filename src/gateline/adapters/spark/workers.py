"""What Spark has no function for, computed by the functions of the Polars engine in Spark's Python workers.

The functions travel to the workers as they are: a worker needs NumPy and PyArrow, which PySpark asks for, but not Gateline.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from gateline.features import hashed
from gateline.stats import exact

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import SparkSession

Grid = tuple[int, int]
"""The place of the first digit and how many there are; see `gateline.stats.exact`."""


class Workers:
    """The functions of one session, each registered once, when a plan needs it.

    Args:
        session: The Spark session.
    """

    def __init__(self, session: SparkSession) -> None:
        from pyspark import cloudpickle

        for sent in (hashed, exact.digits):
            cloudpickle.register_pickle_by_value(sys.modules[sent.__module__])  # type: ignore[no-untyped-call]
        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
        self._session = session
        self._known: set[str] = set()

    def hashed(self, value: str) -> str:
        """Return the hash of a value as BIGINT, in the order of the hashes; missing where the value is."""
        return self._call("hash", _hash_function(), "bigint", value)

    def digits(self, number: str, grid: Grid, *, squared: bool = False) -> str:
        """Return the digits of a DOUBLE or a BIGINT, or of its square, as an array of BIGINT; 0 where it is missing."""
        return self._call("squares" if squared else "digits", _digits_function(grid, squared=squared), "array<bigint>", number, grid=grid)

    def total(self, sums: list[str], grid: Grid) -> str:
        """Return sums of digits as a DOUBLE; missing where it leaves the range of fractions."""
        return self._call("total", _total_function(grid), "double", f"array({', '.join(sums)})", grid=grid)

    def variance(self, count: str, sums: list[str], square_sums: list[str], grid: Grid) -> str:
        """Return the variance of so many values from sums of their digits and of the digits of their squares, as `total` does."""
        return self._call("variance", _variance_function(grid), "double", f"array({', '.join([count, *sums, *square_sums])})", grid=grid)

    def _call(self, name: str, function: Callable[[Any], Any], returned: str, argument: str, *, grid: Grid | None = None) -> str:
        """Return the call in Spark SQL."""
        from pyspark.sql.pandas.functions import ArrowUDFType, arrow_udf

        if grid is not None:
            name = f"{name}_{grid[0]}_{grid[1]}".replace("-", "m")
        name = f"gateline_{name}"
        if name not in self._known:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="It is preferred to specify type hints", category=UserWarning)
                made = arrow_udf(function, returnType=returned, functionType=ArrowUDFType.SCALAR)
            self._session.udf.register(name, made)
            self._known.add(name)
        return f"{name}({argument})"


# Each of these returns a function of one Arrow array.


def _hash_function() -> Callable[[Any], Any]:
    def hashes(values: Any) -> Any:
        import pyarrow as pa

        coded = values.dictionary_encode()
        found = [hashed(value) - (1 << 63) for value in coded.dictionary.to_pylist()]
        return pa.array(found, pa.int64()).take(coded.indices)

    return hashes


def _digits_function(grid: Grid, *, squared: bool) -> Callable[[Any], Any]:
    def digits(values: Any) -> Any:
        import pyarrow as pa

        found = exact.digits(values.fill_null(0).to_numpy(zero_copy_only=False), *grid)
        found = exact.squares(found) if squared else found
        count, rows = found.shape
        return pa.ListArray.from_arrays(pa.array(range(0, count * rows + 1, count), pa.int32()), found.T.ravel())

    return digits


def _total_function(grid: Grid) -> Callable[[Any], Any]:
    def total(sums: Any) -> Any:
        import numpy as np
        import pyarrow as pa

        first, count = grid
        found = exact.total(sums.flatten().to_numpy().reshape(-1, count).T, first)
        return pa.array(found, mask=~np.isfinite(found))

    return total


def _variance_function(grid: Grid) -> Callable[[Any], Any]:
    def variance(sums: Any) -> Any:
        import numpy as np
        import pyarrow as pa

        first, count = grid
        table = sums.flatten().to_numpy().reshape(-1, 1 + 3 * count).T
        found = exact.variance(table[0], table[1 : 1 + count], table[1 + count :], first)
        return pa.array(found, mask=~np.isfinite(found))

    return variance
