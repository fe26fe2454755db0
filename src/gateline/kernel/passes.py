"""Passes over many things of which one may be broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import structlog

from gateline.kernel.errors import GatelineError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Item = TypeVar("Item")

_log = structlog.get_logger(__name__)


def step_each(items: Mapping[str, Item], step: Callable[[Item], int], *, what: str) -> int:
    """Call `step` for every item and return the sum of its answers; trouble with one item keeps no other waiting.

    Args:
        items: Name to item, in the order of the pass.
        step: What is done; says how much.
        what: What failed when it fails, for the log.

    Raises:
        GatelineError: the last item that failed, after all were tried.
    """
    total, problem = 0, None
    for name, item in items.items():
        try:
            total += step(item)
        except GatelineError as error:
            _log.error(f"{what} failed", item=name, code=error.code, failure=str(error))
            problem = error
    if problem is not None:
        raise problem
    return total
