"""Steps that a runner is given ahead: what follows a step it was given can be done before that one is reported, in one go with it.

A step is given ahead when it needs nothing but steps that have succeeded and steps of the same answer, when the runner carries it out in
its own process, and when it was quick the last time that the pipeline succeeded. The server looks for its result in the cache only when
it is reported; being quick bounds what was then computed in vain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.pipelines import store
from gateline.pipelines.board import WHOLE
from gateline.pipelines.model import StepState

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gateline.pipelines.plan import PlanNode
    from gateline.pipelines.settling import Drawn, Settling
    from gateline.pipelines.store import PipelineRunRow, StepRunRow
    from gateline.pipelines.tasks import Report, Runner

AHEAD_MAX = 32
"""How many steps are given ahead at most: the change that records their results locks the database for some milliseconds each."""


def steps_ahead(settling: Settling, session: Session, run: PipelineRunRow, step: StepRunRow, runner: Runner) -> tuple[dict[str, Any], ...]:
    """Return what a runner may go on with after a step that is its own: node, code and arguments of each, in an order that works.

    An argument that is the result of a step of the same answer stays `{"node": …, "output": …}`.
    """
    drawn = settling.drawn(session, run.id)
    if step.executor not in runner.inline or step.attempts > 1 or drawn.nodes[step.node].over is not None:
        return ()  # a step that lost its runner before is executed alone, so that it is known which one it was
    quick = settling.quick(session, run)
    found: list[PlanNode] = []
    coming, queue = {step.node}, list(drawn.followers[step.node])
    for name in queue:  # grows
        node = drawn.nodes[name]
        if name in coming or len(found) >= AHEAD_MAX or not _may_be_ahead(node, quick, runner):
            continue
        if not node.needs() <= coming and not store.have_succeeded(session, run.id, _wholes(drawn, node.needs() - coming)):
            continue
        coming.add(name)
        found.append(node)
        queue.extend(drawn.followers[name])
    outside = {name for node in found for name in node.needs()} - coming
    board = drawn.board(outside, store.steps_of_nodes(session, run.id, outside))
    return tuple(
        {"node": node.as_dict(), "code": drawn.codes.get(node.name, ""), "arguments": board.arguments_but(node, coming)} for node in found
    )


def is_same(step: StepRunRow, report: Report) -> bool:
    """Return whether a step has succeeded with the very content that a runner reports of it."""
    recorded = {(one["name"], one["kind"], one["sha256"]) for one in step.artifacts}
    return step.state == StepState.SUCCEEDED and recorded == {(one.name, one.kind, one.sha256) for one in report.artifacts}


def _may_be_ahead(node: PlanNode, quick: frozenset[str], runner: Runner) -> bool:
    """Return whether it does no harm that a step is executed before it is known whether it must be."""
    options = node.options
    plain = node.over is None and node.when is None and options.approval is None and options.env is None
    return plain and options.cache and options.executor in runner.inline and node.name in quick


def _wholes(drawn: Drawn, names: set[str]) -> list[tuple[str, int]]:
    return [(name, WHOLE if drawn.nodes[name].over else 0) for name in names]
