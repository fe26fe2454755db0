"""Who runs the chain, how, and with what it may be compared.

`in process`: the steps run one after the other in the process of the run. `child processes`: each step runs in a process that is not that
of the run. Like is compared with like.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.harness.environments import PeerMissing, locked_version, peer
from bench.harness.processes import OURS, Failed, measure

if TYPE_CHECKING:
    from collections.abc import Sequence

GATELINE = "bench.pipelines.gateline_chain"
AIRFLOW = "bench.pipelines.peers.airflow_runs"
PREFECT = "bench.pipelines.peers.prefect_runs"
DAGSTER = "bench.pipelines.peers.dagster_runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way of running the chain.

    Attributes:
        name: Of the measurements in the results.
        module: Reports the seconds of each run.
        mode: Its argument; empty when it has one way only.
        environment: The lock file of its environment; empty for our own.
        package: The package whose version is kept with the results.
        how: What is run, in the words of its own documentation.
        slow: Left out of quick runs.
    """

    name: str
    module: str
    how: str
    mode: str = ""
    environment: str = ""
    package: str = ""
    slow: bool = False

    @property
    def version(self) -> str:
        """Of the package."""
        return locked_version(self.environment, self.package)

    def measure(self, build: Path, steps: int, repeats: int) -> dict[str, Any]:
        """Return `seconds` of each warm run, or `missing`: why it could not be measured."""
        arguments = [build / self.name, *([self.mode] if self.mode else []), steps, repeats]
        try:
            python = peer(self.environment) / "python" if self.environment else OURS
            found = measure(python, self.module, *arguments, label=self.name)
        except (PeerMissing, Failed) as error:
            if not self.environment:
                raise
            print(f"  {self.name} is missing: {error}", flush=True)
            return {"missing": str(error)}
        return {**found, "command": f"python -m {self.module} FOLDER {' '.join(str(one) for one in arguments[1:])}", "how": self.how}


CONTENDERS: Sequence[Contender] = (
    Contender(name="gateline_inline", module=GATELINE, mode="inline", how="in process: gateline run --inline, without a server"),
    Contender(name="gateline_process", module=GATELINE, mode="process", how="child processes: gateline run, one fork for each step"),
    Contender(name="gateline_cached", module=GATELINE, mode="cached", how="all 20 steps were computed before"),
    Contender(name="airflow_dags_test", module=AIRFLOW, environment="airflow", package="apache-airflow",
              how="in process: airflow dags test, SQLite; seconds of the command, run_seconds from the start of the first task"),
    Contender(name="prefect_inline", module=PREFECT, mode="inline", environment="prefect", package="prefect",
              how="in process: tasks called in a flow, temporary local server on SQLite that is up already"),
    Contender(name="prefect_process", module=PREFECT, mode="process", environment="prefect", package="prefect", slow=True,
              how="child processes: tasks submitted to ProcessPoolTaskRunner(max_workers=2)"),
    Contender(name="dagster_inline", module=DAGSTER, mode="inline", environment="dagster", package="dagster",
              how="in process: execute_job with in_process_executor, SQLite"),
    Contender(name="dagster_process", module=DAGSTER, mode="process", environment="dagster", package="dagster", slow=True,
              how="child processes: execute_job with multiprocess_executor, Dagster's default, SQLite"),
)  # fmt: skip
