"""The Spark engine: a plan becomes one Spark program over the Parquet files of dataset versions, with the values of the Polars engine."""

from __future__ import annotations

from gateline.adapters.spark.engine import compute_on_spark, write_on_spark
from gateline.adapters.spark.session import spark_session

__all__ = ["compute_on_spark", "spark_session", "write_on_spark"]
