"""One Spark session for all tests: two cores, little memory, no web page, no door to the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateline.adapters.spark import spark_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """The session of the engine."""
    session = spark_session(memory="1g", cores=2)
    session.conf.set("spark.sql.shuffle.partitions", "2")
    yield session
    session.stop()
