"""Sealed runs: once frozen, neither their facts nor their files can be written through MLflow.

A write is counted while it lasts, and a freeze waits until none is under way, so what the snapshot says is what stays.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateline.kernel.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateline.adapters.mlflow.guard import Guard

_OWNER = re.compile(r"[^/]+/(?:(?P<run>[0-9a-f]{32})|models/(?P<model>m-[0-9a-f]{32}))/artifacts(?:/(?P<rest>.*))?", re.DOTALL)
_HOLD_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactOwner:
    """The run or logged model whose folder an artifact path lies in. One of the two ids is empty."""

    run_id: str
    model_id: str
    rest: str

    @property
    def id(self) -> str:
        """The id that stands in the path."""
        return self.run_id or self.model_id


def owner_of(path: str) -> ArtifactOwner | None:
    """Return whose folder an artifact path lies in, by MLflow's layout; None for anything else.

    >>> owner_of("1/" + "a" * 32 + "/artifacts/plots/roc.png").rest
    'plots/roc.png'
    >>> owner_of("1") is None
    True
    """
    found = _OWNER.fullmatch(path.strip("/"))
    if found is None:
        return None
    return ArtifactOwner(run_id=found["run"] or "", model_id=found["model"] or "", rest=(found["rest"] or "").strip("/"))


class RunSeal:
    """Decides whether a run may still be written, and lets a freeze wait for writes under way.

    Args:
        guard: Refuses and records.
        frozen_among: Returns those of some runs that are frozen in records.
        wrote: Is told which runs were written, while they still count as being written.
    """

    def __init__(
        self, guard: Guard, frozen_among: Callable[[set[str]], set[str]], *, wrote: Callable[[set[str]], None] = lambda _: None
    ) -> None:
        self._guard = guard
        self._frozen_among = frozen_among
        self._wrote = wrote
        self._known: set[str] = set()
        self._held: set[str] = set()
        self._writes: dict[str, int] = {}
        self._changed = threading.Condition()

    def frozen(self, run_id: str) -> bool:
        """Return whether the run is frozen; a freeze is never undone, so a yes is remembered."""
        return bool(self._frozen({run_id}))

    def _frozen(self, run_ids: set[str]) -> set[str]:
        unknown = run_ids - self._known
        if unknown:
            self._known |= self._frozen_among(unknown)
        return run_ids & self._known

    @contextmanager
    def writing(self, run_id: str, what: str) -> Iterator[None]:
        """Let a write to the run happen within the block, or refuse it because the run is frozen or being frozen."""
        with self.writing_some({run_id}) as free:
            if run_id not in free:
                self._refuse(run_id, what)
            yield

    @contextmanager
    def writing_some(self, run_ids: set[str]) -> Iterator[set[str]]:
        """Let writes happen within the block to those of the runs that it yields: they are neither frozen nor being frozen."""
        with self._changed:
            counted = run_ids - self._held
            for run_id in counted:
                self._writes[run_id] = self._writes.get(run_id, 0) + 1
        try:
            free = counted - self._frozen(counted)
            yield free
            self._wrote(free)
        finally:
            with self._changed:
                for run_id in counted:
                    self._writes[run_id] -= 1
                    if not self._writes[run_id]:
                        del self._writes[run_id]
                self._changed.notify_all()

    @contextmanager
    def hold(self, run_id: str) -> Iterator[None]:
        """Refuse new writes to the run within the block, having waited for those under way.

        Raises:
            Unavailable: writes still go on after 30 seconds, or another freeze of this run is under way.
        """
        with self._changed:
            free = self._changed.wait_for(lambda: run_id not in self._held, _HOLD_SECONDS_MAX)
            if not free:
                raise Unavailable(f"Run {run_id} is being frozen by somebody else.", next_step="Try again.")
            self._held.add(run_id)
            quiet = self._changed.wait_for(lambda: run_id not in self._writes, _HOLD_SECONDS_MAX)
            if not quiet:
                self._held.discard(run_id)
                raise Unavailable(f"Run {run_id} is still being written.", next_step="Let the client finish, then freeze the run.")
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(run_id)
                self._changed.notify_all()

    def refuse_sealed(self, what: str, *, subject: str) -> None:
        """Refuse because the thing belongs to a frozen run or a registered version."""
        self._guard.refuse(
            what,
            subject=subject,
            reason="it belongs to a frozen run or a registered model version.",
            next_step="Start a new run and register a new version.",
        )

    def _refuse(self, run_id: str, what: str) -> None:
        self._guard.refuse(
            f"{what} of run {run_id}",
            subject=run_id,
            reason="the run is frozen: a digest of all it holds is on record.",
            next_step="Start a new run.",
        )
