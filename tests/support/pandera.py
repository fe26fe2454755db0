"""pandera, imported without what its import does to a process: it sets variables of Spark and Arrow, and imports Spark where it can."""

from __future__ import annotations

import os
import warnings

_before = dict(os.environ)
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    import pandera.pandas as pandas_schemas
    import pandera.polars as schemas
for _name in os.environ.keys() - _before.keys():
    del os.environ[_name]

__all__ = ["pandas_schemas", "schemas"]
