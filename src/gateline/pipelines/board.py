"""The board of a run: where each step stands, and what follows from that. Pure: the cache and stored values are handed in.

A plain node has one place, index 0. A mapped node has a place -1 for the whole, and one for each item once its width is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import GatelineError
from gateline.pipelines.keys import key_argument, step_key
from gateline.pipelines.model import OPEN_STEPS, Artifact, RunState, StepState
from gateline.pipelines.plan import decision, items_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from gateline.pipelines.plan import Plan, PlanNode

WHOLE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A result that was computed before.

    Attributes:
        whole: Whether its bytes are known to be as they were; None while nobody has looked.
    """

    run_id: str
    artifacts: tuple[Artifact, ...]
    whole: bool | None = True


@dataclass(slots=True, kw_only=True)
class Place:
    """One step on the board; see `StepRun` for the fields.

    Attributes:
        left: Of a mapped node as a whole: items that have not succeeded yet.
        approved: Whether somebody has approved it.
        awaited: Whether nothing but that approval is missing.
        changed: Whether it differs from the records.
    """

    node: str
    index: int
    state: StepState = StepState.WAITING
    key: str = ""
    artifacts: tuple[Artifact, ...] = ()
    reused_from: str = ""
    failure: str = ""
    width: int | None = None
    left: int = 0
    approved: bool = False
    awaited: bool = False
    changed: bool = False

    def move(self, state: StepState) -> None:
        """Change the state."""
        self.state, self.changed = state, True

    def fail(self, why: str) -> None:
        """End with a failure."""
        self.failure = why
        self.move(StepState.FAILED)


class Board:
    """All steps of a run.

    Args:
        run_id: The run.
        plan: The plan, sound: each node after those it needs.
        codes: Node to the digest of its code.
        environment: Digest of the environment that the steps run in.
        places: The steps as recorded; a new run has none.
    """

    def __init__(self, run_id: str, plan: Plan, codes: Mapping[str, str], environment: str, places: Sequence[Place] = ()) -> None:
        self.run_id = run_id
        self.nodes = {node.name: node for node in plan.nodes}
        self.output = plan.output
        self._codes = codes
        self._environment = environment
        self._items: dict[str, list[Place]] = {}
        self.places: dict[tuple[str, int], Place] = {}
        for place in sorted(places, key=lambda one: one.index):
            self._put(place)
        for name, node in self.nodes.items():
            if self.whole(name) is None:
                self._put(Place(node=name, index=WHOLE if node.over else 0, changed=True))

    def whole(self, node: str) -> Place | None:
        """Return the place that stands for a node: of a mapped one, that of the whole."""
        return self.places.get((node, WHOLE if self.nodes[node].over else 0))

    def advance(
        self, cached: Callable[[str], Hit | None], read: Callable[[Artifact], Any], *, names: Collection[str] | None = None
    ) -> None:
        """Move steps as far as they can go without a runner.

        Args:
            cached: Returns the result of a key that was computed before, or None.
            read: Returns the JSON value of a stored artifact.
            names: The nodes to look at, when not all.
        """
        for name, node in self.nodes.items():
            place = self.whole(name)
            if place is None or (names is not None and name not in names):
                continue
            try:
                if place.state is StepState.WAITING:
                    self._unlock(node, place, cached, read)
                if place.index == WHOLE and place.state is StepState.RUNNING:
                    self._gather(place)
            except GatelineError as error:
                place.fail(f"cannot begin: {error}")

    def state(self) -> RunState:
        """Return where the run stands by its steps. A failed step lets those finish that run, and starts no more."""
        wholes = [place for name in self.nodes if (place := self.whole(name)) is not None]
        running = any(place.state is StepState.RUNNING and place.index != WHOLE for place in self.places.values())
        if any(place.state is StepState.FAILED for place in self.places.values()):
            return RunState.RUNNING if running else RunState.FAILED
        if any(place.state is StepState.CANCELLED for place in wholes):
            return RunState.RUNNING if running else RunState.CANCELLED
        return RunState.RUNNING if any(place.state in OPEN_STEPS for place in wholes) else RunState.SUCCEEDED

    def failure(self) -> str:
        """Return why the first failed step failed."""
        failed = next((place for place in self.places.values() if place.state is StepState.FAILED and place.failure), None)
        if failed is None:
            return ""
        mapped = self.nodes[failed.node].over is not None and failed.index != WHOLE
        return f"Step '{failed.node}{f'[{failed.index}]' if mapped else ''}' {failed.failure}"

    def close(self) -> None:
        """Cancel what has not begun."""
        for place in self.places.values():
            if place.state in {StepState.WAITING, StepState.READY}:
                place.move(StepState.CANCELLED)
        for place in self.places.values():
            if place.index == WHOLE and place.state is StepState.RUNNING:
                self._gather(place)

    def arguments(self, node: PlanNode, index: int, read: Callable[[Artifact], Any]) -> dict[str, Any]:
        """Return what a step is called with: values, artifacts, and lists and fields of these."""
        items = self._items_of(node, index, read)
        return {name: self._filled(argument, items) for name, argument in node.arguments.items()}

    def arguments_but(self, node: PlanNode, coming: Collection[str]) -> dict[str, Any]:
        """Return what a plain step is called with, with the results of some nodes left as references: those are still to come."""
        return {name: self._filled(argument, {}, coming) for name, argument in node.arguments.items()}

    def result(self, reference: Mapping[str, Any]) -> Artifact | list[Artifact] | None:
        """Return the artifact that a reference stands for; of a mapped node, those of its items in order. None when there is none."""
        whole = self.whole(reference["node"])
        if whole is not None and whole.index == WHOLE:
            found = [_named(item.artifacts, reference.get("output")) for item in self._items.get(reference["node"], ())]
            return [one for one in found if one is not None]
        return None if whole is None else _named(whole.artifacts, reference.get("output"))

    def _put(self, place: Place) -> None:
        self.places[place.node, place.index] = place
        if place.index != WHOLE and self.nodes[place.node].over:
            self._items.setdefault(place.node, []).append(place)

    def _unlock(self, node: PlanNode, place: Place, cached: Callable[[str], Hit | None], read: Callable[[Artifact], Any]) -> None:
        """Move a waiting node on: skip it, fail it, reuse its result, or make it ready."""
        needed = [self.whole(name) for name in node.needs()]
        if any(one is None or one.state is StepState.SKIPPED for one in needed):
            return place.move(StepState.SKIPPED)
        if any(one is not None and one.state is not StepState.SUCCEEDED for one in needed):
            return None
        if node.when and not decision(self._json(node.when, read), node.when["node"]):
            return place.move(StepState.SKIPPED)
        if node.options.approval and not place.approved:
            place.awaited = True
            return None
        if place.index == WHOLE:
            return self._spread(node, place, cached, read)
        return self._ready(node, place, cached, read)

    def _spread(self, node: PlanNode, place: Place, cached: Callable[[str], Hit | None], read: Callable[[Artifact], Any]) -> None:
        """Make the items of a mapped node, as many ready as may run at once; or finish it when all items have."""
        width = len(items_of({name: self._elements(over, read) for name, over in node.over.items()}, node.step)) if node.over else 0
        for index in range(width):
            if (place.node, index) not in self.places:
                self._put(Place(node=place.node, index=index, changed=True))
            if self.places[place.node, index].state is StepState.WAITING:
                self._ready(node, self.places[place.node, index], cached, read)
        items = self._items.get(place.node, [])
        if any(one.state is StepState.WAITING for one in items):
            return None  # a result found in the cache has to be looked at first
        ready = [one for one in items if one.state is StepState.READY]
        for one in ready[node.max_parallel or len(ready) :]:
            one.move(StepState.WAITING)
        place.width, place.left = width, sum(1 for one in items if one.state is not StepState.SUCCEEDED)
        return place.move(StepState.RUNNING)

    def _gather(self, place: Place) -> None:
        """End a mapped node when its items have ended."""
        states = {one.state for one in self._items.get(place.node, ())}
        ended = next((state for state in (StepState.FAILED, StepState.CANCELLED) if state in states), None)
        if place.left == 0 or ended is not None:
            place.move(ended or StepState.SUCCEEDED)

    def _ready(self, node: PlanNode, place: Place, cached: Callable[[str], Hit | None], read: Callable[[Artifact], Any]) -> None:
        """Give a step its key, and its result when that was computed before and is whole; it waits until that is known."""
        place.key = self.key(node, place.index, read)
        hit = cached(place.key) if node.options.cache else None
        if hit is None or hit.whole is False:
            place.move(StepState.READY)
        elif hit.whole:
            place.artifacts, place.reused_from = hit.artifacts, hit.run_id
            place.move(StepState.SUCCEEDED)

    def key(self, node: PlanNode, index: int, read: Callable[[Artifact], Any]) -> str:
        """Return the digest of everything that the result of a step depends on."""
        items = self._items_of(node, index, read)

        def result(name: str, output: str | None) -> dict[str, Any]:
            return _content(self._filled({"node": name, "output": output}, {}))

        return step_key(
            code=self._codes.get(node.name, ""), environment=self._environment, seed=node.options.seed,
            arguments={name: key_argument(one, result, lambda item: _content(items[item])) for name, one in node.arguments.items()},
            run_id="" if node.options.cache else self.run_id,
        )  # fmt: skip

    def _items_of(self, node: PlanNode, index: int, read: Callable[[Artifact], Any]) -> dict[str, Any]:
        return {} if node.over is None else {name: self._elements(over, read)[index] for name, over in node.over.items()}

    def _filled(self, argument: Mapping[str, Any], items: Mapping[str, Any], coming: Collection[str] = ()) -> dict[str, Any]:
        """Return an argument of the plan with artifacts in place of nodes that are not to come."""
        if "node" in argument and argument["node"] in coming:
            return dict(argument)
        if "node" in argument:
            found = self.result(argument)
            return {"list": [{"artifact": one.as_dict()} for one in found]} if isinstance(found, list) else _artifact(found)
        if "item" in argument:
            return dict(items[argument["item"]])
        if "list" in argument:
            return {"list": [self._filled(one, items, coming) for one in argument["list"]]}
        if "fields" in argument:
            return {"fields": {name: self._filled(one, items, coming) for name, one in argument["fields"].items()}}
        return {"value": argument["value"]}

    def _elements(self, over: Mapping[str, Any], read: Callable[[Artifact], Any]) -> Any:
        """Return what the items of a mapped node are taken from: a list of filled arguments, or something that is no list."""
        if "list" in over:
            return [self._filled(one, {}) for one in over["list"]]
        found = self.result(over) if "node" in over else None
        if isinstance(found, list):
            return [{"artifact": one.as_dict()} for one in found]
        values = self._json(over, read) if "node" in over else over["value"]
        return [{"value": value} for value in values] if isinstance(values, list) else values

    def _json(self, reference: Mapping[str, Any], read: Callable[[Artifact], Any]) -> Any:
        """Return the JSON value of another node's result; of a mapped node, the list of its items' values."""
        found = self.result(reference)
        return [read(one) for one in found] if isinstance(found, list) else None if found is None else read(found)


def _artifact(found: Artifact | None) -> dict[str, Any]:
    return {"value": None} if found is None else {"artifact": found.as_dict()}


def _named(artifacts: tuple[Artifact, ...], output: str | None) -> Artifact | None:
    """Return the artifact of an output, or the only one."""
    return next((one for one in artifacts if output is None or one.name == output), None)


def _content(argument: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a filled argument counts for the key: values as they are, artifacts by kind and digest."""
    if "artifact" in argument:
        return {"artifact": argument["artifact"]["sha256"], "kind": argument["artifact"]["kind"]}
    if "list" in argument:
        return {"list": [_content(one) for one in argument["list"]]}
    if "fields" in argument:
        return {"fields": {name: _content(one) for name, one in argument["fields"].items()}}
    return {"value": argument["value"]}
