"""The board of a run: where each step stands, and what follows from that. Pure: the cache and stored values are handed in.

A plain node has one place, index 0. A mapped node has a place -1 for the whole, and one for each item once its width is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import digest
from gateline.kernel.errors import GatelineError
from gateline.pipelines.model import OPEN_STEPS, Artifact, RunState, StepState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

WHOLE = -1
ITEMS_MAX = 10_000
KEY_DOMAIN = "step/2"


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
        plan: The plan, sound: `nodes`, each after the nodes it depends on, and `output`.
        codes: Node to the digest of its code.
        environment: Digest of the environment that the steps run in.
        places: The steps as recorded; a new run has none.
    """

    def __init__(
        self, run_id: str, plan: Mapping[str, Any], codes: Mapping[str, str], environment: str, places: Sequence[Place] = ()
    ) -> None:
        self.run_id = run_id
        self.nodes: dict[str, dict[str, Any]] = {node["name"]: node for node in plan["nodes"]}
        self.output = plan.get("output")
        self._codes = codes
        self._environment = environment
        self._items: dict[str, list[Place]] = {}
        self.places: dict[tuple[str, int], Place] = {}
        for place in sorted(places, key=lambda one: one.index):
            self._put(place)
        for name, node in self.nodes.items():
            if self.whole(name) is None:
                self._put(Place(node=name, index=WHOLE if node.get("over") else 0, changed=True))

    def whole(self, node: str) -> Place | None:
        """Return the place that stands for a node: of a mapped one, that of the whole."""
        return self.places.get((node, WHOLE if self.nodes[node].get("over") else 0))

    def advance(self, cached: Callable[[str], Hit | None], read: Callable[[Artifact], Any]) -> None:
        """Move every step as far as it can go without a runner.

        Args:
            cached: Returns the result of a key that was computed before, or None.
            read: Returns the JSON value of a stored artifact.
        """
        for name, node in self.nodes.items():
            place = self.whole(name)
            if place is None:
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
        return "" if failed is None else f"Step '{failed.node if failed.index < 1 else f'{failed.node}[{failed.index}]'}' {failed.failure}"

    def close(self) -> None:
        """Cancel what has not begun."""
        for place in self.places.values():
            if place.state in {StepState.WAITING, StepState.READY}:
                place.move(StepState.CANCELLED)
        for place in self.places.values():
            if place.index == WHOLE and place.state is StepState.RUNNING:
                self._gather(place)

    def arguments(self, node: Mapping[str, Any], index: int, read: Callable[[Artifact], Any]) -> dict[str, Any]:
        """Return what a step is called with: values, artifacts, and lists of artifacts."""
        found: dict[str, Any] = {}
        for name, argument in node["arguments"].items():
            if "item" in argument:
                found[name] = {"value": self._listed(node["over"][argument["item"]], read)[index]}
            elif "node" in argument:
                found[name] = self._input(argument)
            else:
                found[name] = {"value": argument["value"]}
        return found

    def outputs(self, reference: Mapping[str, Any]) -> tuple[Artifact, ...] | None:
        """Return the artifacts of a plain node's output, all of them when none is named; None for a mapped node."""
        whole = self.whole(reference["node"])
        if whole is None or whole.index == WHOLE:
            return None
        return _named(whole.artifacts, reference.get("output"))

    def _put(self, place: Place) -> None:
        self.places[place.node, place.index] = place
        if place.index != WHOLE and self.nodes[place.node].get("over"):
            self._items.setdefault(place.node, []).append(place)

    def _unlock(self, node: dict[str, Any], place: Place, cached: Callable[[str], Hit | None], read: Callable[[Artifact], Any]) -> None:
        """Move a waiting node on: skip it, fail it, reuse its result, or make it ready."""
        needed = [self.whole(name) for name in depends_on(node)]
        if any(one is None or one.state is StepState.SKIPPED for one in needed):
            self._skip(place)
        if place.state is not StepState.WAITING or any(one is not None and one.state is not StepState.SUCCEEDED for one in needed):
            return None
        if node.get("when"):
            wanted = self._json(node["when"], read)
            if wanted is not True and wanted is not False:
                return place.fail(f"runs when '{node['when']['node']}' returns true; it returned {str(wanted)[:100]}.")
            if not wanted:
                return self._skip(place)
        if node["options"].get("approval") and not place.approved:
            place.awaited = True
            return None
        if place.index == WHOLE:
            return self._spread(node, place, cached, read)
        return self._ready(node, place, cached, read)

    def _spread(self, node: dict[str, Any], place: Place, cached: Callable[[str], Hit | None], read: Callable[[Artifact], Any]) -> None:
        """Make the items of a mapped node, as many ready as may run at once; or finish it when all items have."""
        lists = {name: self._listed(over, read) for name, over in node["over"].items()}
        wrong = [name for name, values in lists.items() if not isinstance(values, list)]
        if wrong:
            return place.fail(f"is mapped over '{wrong[0]}', which is no list.")
        widths = {name: len(values) for name, values in lists.items()}
        if len(set(widths.values())) != 1 or max(widths.values()) > ITEMS_MAX:
            return place.fail(f"is mapped over lists of {widths} items; they must be equally long, {ITEMS_MAX:,} at most.")
        width = next(iter(widths.values()))
        for index in range(width):
            if (place.node, index) not in self.places:
                self._put(Place(node=place.node, index=index, changed=True))
            if self.places[place.node, index].state is StepState.WAITING:
                self._ready(node, self.places[place.node, index], cached, read)
        items = self._items.get(place.node, [])
        if any(one.state is StepState.WAITING for one in items):
            return None  # a result found in the cache has to be looked at first
        ready = [one for one in items if one.state is StepState.READY]
        for one in ready[node.get("max_parallel") or len(ready) :]:
            one.move(StepState.WAITING)
        place.width, place.left = width, sum(1 for one in items if one.state is not StepState.SUCCEEDED)
        return place.move(StepState.RUNNING)

    def _gather(self, place: Place) -> None:
        """End a mapped node when its items have ended."""
        states = {one.state for one in self._items.get(place.node, ())}
        ended = next((state for state in (StepState.FAILED, StepState.CANCELLED) if state in states), None)
        if place.left == 0 or ended is not None:
            place.move(ended or StepState.SUCCEEDED)

    def _ready(self, node: dict[str, Any], place: Place, cached: Callable[[str], Hit | None], read: Callable[[Artifact], Any]) -> None:
        """Give a step its key, and its result when that was computed before and is whole; it waits until that is known."""
        place.key = self.key(node, place.index, read)
        hit = cached(place.key) if node["options"].get("cache", True) else None
        if hit is None or hit.whole is False:
            place.move(StepState.READY)
        elif hit.whole:
            place.artifacts, place.reused_from = hit.artifacts, hit.run_id
            place.move(StepState.SUCCEEDED)

    def key(self, node: Mapping[str, Any], index: int, read: Callable[[Artifact], Any]) -> str:
        """Return the digest of everything that the result of a step depends on."""
        inputs = {name: _content(one) for name, one in self.arguments(node, index, read).items()}
        facts = {
            "step": node["step"], "code": self._codes.get(node["name"], ""), "environment": self._environment, "inputs": inputs,
            "seed": node["options"].get("seed"),
        }  # fmt: skip
        if not node["options"].get("cache", True):
            facts["run"] = f"{self.run_id}/{node['name']}/{index}"
        return digest(KEY_DOMAIN, facts)

    def _skip(self, place: Place) -> None:
        place.move(StepState.SKIPPED)

    def _input(self, reference: Mapping[str, Any]) -> dict[str, Any]:
        """Return what stands for another node's result among the arguments."""
        one = self.outputs(reference)
        if one is not None:
            single = reference.get("output") or len(one) == 1
            return {"artifact": one[0].as_dict()} if single else {"artifacts": [artifact.as_dict() for artifact in one]}
        items = [_named(item.artifacts, reference.get("output")) for item in self._items.get(reference["node"], ())]
        return {"artifacts": [item[0].as_dict() if len(item) == 1 else [artifact.as_dict() for artifact in item] for item in items]}

    def _json(self, reference: Mapping[str, Any], read: Callable[[Artifact], Any]) -> Any:
        """Return the JSON value of another node's result; of a mapped node, the list of its items' values."""
        one = self.outputs(reference)
        if one is not None:
            return read(one[0]) if len(one) == 1 else None
        return [read(_named(item.artifacts, reference.get("output"))[0]) for item in self._items.get(reference["node"], ())]

    def _listed(self, over: Mapping[str, Any], read: Callable[[Artifact], Any]) -> Any:
        return over["value"] if "value" in over else self._json(over, read)


def depends_on(node: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the nodes that one depends on."""
    for argument in [*node["arguments"].values(), *(node.get("over") or {}).values(), *filter(None, [node.get("when")])]:
        if "node" in argument:
            yield argument["node"]


def _named(artifacts: tuple[Artifact, ...], output: str | None) -> tuple[Artifact, ...]:
    return artifacts if not output else tuple(one for one in artifacts if one.name == output)


def _content(argument: dict[str, Any]) -> Any:
    """Return what of an argument counts for the key: values as they are, artifacts by kind and digest."""
    if "value" in argument:
        return argument
    if "artifact" in argument:
        return {"artifact": _identity(argument["artifact"])}
    return {"artifacts": [_identity(one) if isinstance(one, dict) else [_identity(part) for part in one] for one in argument["artifacts"]]}


def _identity(artifact: Mapping[str, Any]) -> list[str]:
    return [artifact["kind"], artifact["sha256"]]
