"""The Spark session of the engine: the one that runs already, or an embedded one that opens no door to the network."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

from gateline.kernel.errors import ConfigurationError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Values mean the same as in the other engines only under these.
_MEANING = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "false",  # whole numbers wrap around, and division by zero is written out
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    "spark.sql.legacy.parquet.nanosAsLong": "false",
    "spark.sql.caseSensitive": "true",
    "spark.sql.mapKeyDedupPolicy": "EXCEPTION",
}


def spark_session(*, memory: str = "2g", cores: int = 2) -> SparkSession:
    """Return a session with UTC times and the arithmetic of the other engines.

    Where a session runs already, as on a cluster or in a notebook, the answer is a new session of it with settings of its own: the
    caller's session keeps its settings. Otherwise an embedded one is started on this machine, without web page and bound to this host.

    Args:
        memory: Heap of an embedded session.
        cores: Cores of an embedded session.

    Raises:
        ConfigurationError: PySpark or Java is missing.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ConfigurationError("The Spark engine needs PySpark.", next_step="pip install 'gateline[spark]'") from error
    running = SparkSession.getActiveSession()
    started = running if running is not None else _embedded(memory, cores)
    session = started.newSession()
    for name, value in _MEANING.items():
        session.conf.set(name, value)
    return session


def _embedded(memory: str, cores: int) -> SparkSession:
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(f"local[{cores}]").appName("gateline")
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.memory": memory,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": str(2 * cores),
        "spark.sql.catalogImplementation": "in-memory",
        "spark.log.level": "ERROR",
        "spark.ui.showConsoleProgress": "false",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    try:
        with warnings.catch_warnings():
            # Its notice about pandas 3 concerns functions that the engine does not use.
            warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas", category=FutureWarning)
            started = builder.getOrCreate()
    except (PySparkException, RuntimeError) as error:
        told = "Run scripts/setup, or install OpenJDK 17 and name its folder in JAVA_HOME; Spark's own lines stand above."
        raise ConfigurationError("Spark did not start.", next_step=told) from error
    started.sparkContext.pythonExec = sys.executable  # its Python workers are the Python of this process
    return started
