"""The port to where runs are kept. The embedded MLflow is one; tests bring another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from gateline.tracking.model import RunFacts
    from gateline.tracking.query import MetricHistory, RunPage, RunQuery


class RunSource(Protocol):
    """Where runs come from."""

    def hold(self, run_id: str) -> AbstractContextManager[None]:
        """Keep the run from being written while it is read; waits for writes under way."""
        ...

    def read(self, run_id: str, *, with_files: bool = True) -> RunFacts:
        """Return the run; without files, `artifacts` and the files of `models` are empty. Raises NotFound."""
        ...

    def search(self, query: RunQuery) -> RunPage:
        """Return a page of runs without their files. Raises InvalidInput naming what is wrong in the query, NotFound for the experiment."""
        ...

    def history(self, run_id: str, name: str, *, limit: int) -> MetricHistory:
        """Return at most `limit` values of a metric. Raises NotFound for the run or the metric."""
        ...

    def content(self, run_id: str, path: str, *, model_id: str = "") -> bytes | None:
        """Return the bytes of a file of the run, or of a model it produced; None when there is none or it is too large to be read whole."""
        ...

    def annotate(self, actor: str, run_id: str, tags: Mapping[str, str | None]) -> None:
        """Set tags, and remove those whose value is None. Raises InvalidInput, Denied for reserved tags or a frozen run, NotFound."""
        ...
