"""Settling a run: what follows from the steps that ended is written down, and what was computed before is reused at once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateline.kernel.clock import SECOND
from gateline.kernel.errors import IntegrityFailure, InvalidInput, NotFound, TooLarge
from gateline.pipelines import store
from gateline.pipelines.board import WHOLE, Board, Hit, Place
from gateline.pipelines.model import RUN_FINISHED, RunState, StepState
from gateline.pipelines.plan import Plan
from gateline.pipelines.plan_rules import plan_from_dict
from gateline.pipelines.rules import QUICK_SECONDS
from gateline.pipelines.schedule_store import ask, withdraw
from gateline.pipelines.store import PipelineRunRow, PlanRow, StepRunRow

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.orm import Session

    from gateline.data import ObjectStore
    from gateline.ledger import Transaction
    from gateline.pipelines.model import Artifact
    from gateline.pipelines.plan import PlanNode

_PLANS_KEPT = 64
_LOOKED_AT_ONCE_BYTES = 4 << 20
JSON_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What a runner drew for a run.

    Attributes:
        nodes: The nodes of the plan by name.
        positions: Node to its position in the plan.
        followers: Node to those that need it.
        codes: Node to the digest of its code.
        environment: Digest of the environment that the steps run in.
    """

    run_id: str
    plan: Plan
    codes: dict[str, str]
    environment: str
    nodes: dict[str, PlanNode] = field(init=False)
    positions: dict[str, int] = field(init=False)
    followers: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        """Index the nodes."""
        object.__setattr__(self, "nodes", {node.name: node for node in self.plan.nodes})
        object.__setattr__(self, "positions", {name: position for position, name in enumerate(self.nodes)})
        object.__setattr__(self, "followers", {name: [] for name in self.nodes})
        for name, node in self.nodes.items():
            for needed in node.needs():
                self.followers[needed].append(name)

    def board(self, names: Collection[str], rows: Sequence[StepRunRow]) -> Board:
        """Return a board of some nodes, of which those that others of them need must be among them."""
        part = Plan(pipeline="", nodes=tuple(self.nodes[name] for name in sorted(names, key=self.positions.__getitem__)))
        return Board(self.run_id, part, self.codes, self.environment, [_place(row) for row in rows])


class Settling:
    """Moves runs on as far as they can go without a runner.

    Args:
        objects: Holds what steps returned.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._drawn: dict[str, Drawn] = {}
        self._quick: dict[str, frozenset[str]] = {}

    def drawn(self, session: Session, run_id: str) -> Drawn:
        """Return what was drawn for a run; it never changes."""
        found = self._drawn.get(run_id)
        if found is None:
            row = session.get_one(PlanRow, run_id)
            found = Drawn(run_id=run_id, plan=plan_from_dict(row.plan), codes=row.codes, environment=row.environment)
            _make_room(self._drawn)
            self._drawn[run_id] = found
        return found

    def quick(self, session: Session, run: PipelineRunRow) -> frozenset[str]:
        """Return the nodes that were quick the last time, as the records said when it was first asked."""
        found = self._quick.get(run.id)
        if found is None:
            _make_room(self._quick)
            found = self._quick[run.id] = store.quick_nodes(session, run, round(QUICK_SECONDS * SECOND))
        return found

    def arguments(self, session: Session, row: StepRunRow, node: PlanNode) -> dict[str, Any]:
        """Return what a step is called with."""
        drawn, needed = self.drawn(session, row.run_id), node.needs()
        plain = [session.get(StepRunRow, (row.run_id, name, 0)) for name in needed if not drawn.nodes[name].over]
        mapped = store.steps_of_nodes(session, row.run_id, {name for name in needed if drawn.nodes[name].over})
        return drawn.board(needed, [*filter(None, plain), *mapped]).arguments(node, row.index, self.read)

    def follow(self, tx: Transaction, run: PipelineRunRow, node: str) -> bool:
        """Write down what follows for the nodes that need one that has succeeded, when that is no more than that runners can begin them.

        The whole run, which `settle` looks at, may have many more. Returns False, and changes nothing, when there is more to do.
        """
        drawn, session = self.drawn(tx.session, run.id), tx.session
        names = drawn.followers[node]
        part = {*names, *(needed for name in names for needed in drawn.nodes[name].needs())}
        rows = {(row.node, row.index): row for row in store.steps_of_nodes(session, run.id, part)}
        board, cache = drawn.board(part, list(rows.values())), _Cache(session, self._objects, {})
        board.advance(cache.find, self.read, names=names)
        changed = [place for place in board.places.values() if place.changed]
        if cache.unknown or any(place.awaited for place in board.places.values()):
            return False
        if any(place.state not in {StepState.WAITING, StepState.READY, StepState.RUNNING} for place in changed):
            return False
        if not any(place.state is StepState.READY for place in changed) and not store.is_busy(session, run.id):
            return False
        self._save(tx, run, board, rows)
        session.info["followed"] = rows  # the session alone would forget them
        return True

    def settle(self, tx: Transaction, run: PipelineRunRow, known: Mapping[str, bool]) -> set[str]:
        """Write down what follows from the steps of a run, and close it when it is over.

        Args:
            tx: The change; the run's row is locked in it.
            run: The run.
            known: Digest to whether a stored file is whole, of those that somebody looked at.

        Returns:
            Digests of large files that have to be looked at before the run can go on.
        """
        rows = {(row.node, row.index): row for row in store.steps_of(tx.session, run.id)}
        drawn, cache = self.drawn(tx.session, run.id), _Cache(tx.session, self._objects, known)
        board = Board(run.id, drawn.plan, drawn.codes, drawn.environment, [_place(row) for row in rows.values()])
        if run.cancelled_at is not None:
            board.close()
        else:
            board.advance(cache.find, self.read)
            if any(place.state is StepState.FAILED for place in board.places.values()):
                run.failure = run.failure or board.failure()
                board.close()
        self._save(tx, run, board, rows)
        waiting = [place.node for place in board.places.values() if place.awaited and place.state is StepState.WAITING]
        asked = {node: board.nodes[node].options for node in waiting}
        withdraw(tx, run, {*run.awaited.split(", ")} - {"", *asked})
        run.awaited = ", ".join(asked)
        ask(tx, run, {node: (one.approval or "", one.approval_timeout_seconds) for node, one in asked.items()})
        state = board.state()
        if state is not RunState.RUNNING:
            close_run(tx, run, state, self._result(board) if state is RunState.SUCCEEDED else {})
        return cache.unknown

    def preview(self, session: Session, plan: Plan, codes: Mapping[str, str], environment: str) -> dict[str, str]:
        """Return what would become of each node of a plan now, without a change."""
        board, cache = Board("", plan, codes, environment), _Cache(session, self._objects, {})
        board.advance(cache.find, self.read)
        while cache.unknown:
            cache = _Cache(session, self._objects, self.look(cache.unknown))
            board.advance(cache.find, self.read)
        words = {StepState.SUCCEEDED: "reuse", StepState.READY: "run", StepState.RUNNING: "run"}
        words |= {StepState.SKIPPED: "skip", StepState.FAILED: "fail"}
        return {name: words.get(place.state, "unknown") for name in board.nodes if (place := board.whole(name)) is not None}

    def look(self, digests: set[str]) -> dict[str, bool]:
        """Return for each digest whether the stored file still has it."""
        return {sha256: _is_whole(self._objects, sha256) for sha256 in digests}

    def read(self, artifact: Artifact) -> Any:
        """Return the JSON value of an artifact.

        Raises:
            NotFound: it is no longer stored.
            IntegrityFailure: its bytes changed.
            InvalidInput: it is no JSON.
            TooLarge: it is too large to decide on.
        """
        if artifact.size_bytes > JSON_BYTES_MAX:
            raise TooLarge(f"A result of {artifact.size_bytes:,} bytes is too large to decide on; the limit is {JSON_BYTES_MAX:,}.")
        with self._objects.open_verified(artifact.sha256) as file:
            content = file.read()
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(
                f"A result that is a {artifact.kind} is no JSON to decide on.", next_step="Return true or false, or a list, from that step."
            ) from error

    def _result(self, board: Board) -> dict[str, Any]:
        """Return what the pipeline returned, when that is a JSON object of reasonable size."""
        found = board.result(board.output) if board.output else None
        if found is None or isinstance(found, list) or found.kind not in {"json", "metrics"} or found.size_bytes > JSON_BYTES_MAX:
            return {}
        try:
            value = self.read(found)
        except (NotFound, IntegrityFailure, InvalidInput):
            return {}
        return value if isinstance(value, dict) else {}

    def _save(self, tx: Transaction, run: PipelineRunRow, board: Board, rows: Mapping[tuple[str, int], StepRunRow]) -> None:
        reused: dict[str, list[Place]] = {}
        positions = self.drawn(tx.session, run.id).positions
        for place in board.places.values():
            if not place.changed:
                continue
            row = rows.get((place.node, place.index))
            if row is None:
                executor = board.nodes[place.node].options.executor.partition("://")[0]
                row = StepRunRow(
                    run_id=run.id, node=place.node, index=place.index, position=positions[place.node], state="", executor=executor
                )
                tx.session.add(row)
            _write(row, place, tx.now)
            if place.reused_from and place.state is StepState.SUCCEEDED:
                reused.setdefault(place.node, []).append(place)
            elif place.state is StepState.FAILED and place.failure:
                tx.record("pipeline.step.failed", f"{run.id}/{place.node}", {"index": place.index, "failure": place.failure})
        for node, places in reused.items():
            first = places[0]
            facts = {"key": first.key, "from": first.reused_from, "artifacts": [one.sha256 for one in first.artifacts]}
            tx.record("pipeline.step.reused", f"{run.id}/{node}", facts if first.index < 1 and len(places) == 1 else {"items": len(places)})


def close_run(tx: Transaction, run: PipelineRunRow, state: RunState, result: dict[str, Any]) -> None:
    """End a run, and tell those who wait for it."""
    run.state, run.ended_at, run.lease_until, run.awaited = state, tx.now, 0, ""
    run.result = result
    summary = {"pipeline": run.pipeline, "state": run.state, "result": run.result, "failure": run.failure}
    tx.record(RUN_FINISHED, run.id, summary)
    tx.publish(RUN_FINISHED, {"run_id": run.id, **summary})


class _Cache:
    """Results that were computed before. Small files are looked at here; large ones outside the transaction."""

    def __init__(self, session: Session, objects: ObjectStore, known: Mapping[str, bool]) -> None:
        self._session = session
        self._objects = objects
        self._known = dict(known)
        self.unknown: set[str] = set()

    def find(self, key: str) -> Hit | None:
        """Return the result of a key."""
        found = store.finished_step(self._session, key)
        if found is None:
            return None
        run_id, artifacts = found
        states = [self._state(one) for one in artifacts]
        return Hit(run_id=run_id, artifacts=artifacts, whole=False if False in states else None if None in states else True)

    def _state(self, artifact: Artifact) -> bool | None:
        known = self._known.get(artifact.sha256)
        if known is None and artifact.size_bytes <= _LOOKED_AT_ONCE_BYTES:
            known = self._known[artifact.sha256] = _is_whole(self._objects, artifact.sha256)
        if known is None:
            self.unknown.add(artifact.sha256)
        return known


def _make_room(kept: dict[str, Any]) -> None:
    while len(kept) >= _PLANS_KEPT:
        kept.pop(next(iter(kept)), None)


def _is_whole(objects: ObjectStore, sha256: str) -> bool:
    """Return whether a stored file still has the bytes of its digest; a damaged one is computed again."""
    try:
        objects.verify(sha256)
    except (IntegrityFailure, NotFound):
        return False
    return True


def _place(row: StepRunRow) -> Place:
    return Place(
        node=row.node, index=row.index, state=StepState(row.state), key=row.key, artifacts=store.to_artifacts(row.artifacts),
        reused_from=row.reused_from, failure=row.failure, width=row.width, left=row.unfinished, approved=bool(row.approved_by),
    )  # fmt: skip


def _write(row: StepRunRow, place: Place, now: int) -> None:
    """Copy a place into its row."""
    row.state, row.key, row.reused_from, row.failure = place.state, place.key, place.reused_from, place.failure
    row.artifacts = [one.as_dict() for one in place.artifacts]
    row.width, row.unfinished = place.width, place.left
    if place.state in {StepState.SUCCEEDED, StepState.FAILED, StepState.SKIPPED, StepState.CANCELLED}:
        row.started_at, row.ended_at = row.started_at or now, now
    elif place.index == WHOLE and place.state is StepState.RUNNING:
        row.started_at = row.started_at or now
