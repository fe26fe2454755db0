"""Makes registrations that die at each point, in one process that loads MLflow once and forks for every death.

Usage: child.py HOME. Prints a line of JSON: for each point, how the process ended and what the reconciler made of what it left.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from gateline.adapters.mlflow import EmbeddedMlflow, Registered
from gateline.adapters.mlflow import projection as projecting
from gateline.adapters.mlflow.guard import Acting, Guard, acting_as, internally
from gateline.adapters.mlflow.registrations import QUIET_SECONDS
from gateline.kernel.clock import SECOND, SystemClock
from gateline.kernel.records import Records
from gateline.kernel.settings import Settings
from gateline.ledger import Ledger, SigningKey
from gateline.ledger.service import Transaction
from gateline.lineage import Lineage
from gateline.tracking import Tracking

DEVELOPER = Acting(name="developer", internal=False, request="in process")


class Later(SystemClock):
    """The machine's clock, after every run has been quiet long enough."""

    def now(self) -> int:
        return super().now() + (QUIET_SECONDS + 60) * SECOND


class World:
    """MLflow with records, and a reconciler that has seen nothing yet."""

    def __init__(self, home: Path) -> None:
        settings = Settings(home=home)
        self.records = Records(settings.records_location)
        self.ledger = Ledger(self.records, SystemClock(), SigningKey.load_or_create(settings.keys_path))
        self.mlflow = EmbeddedMlflow(settings, self.ledger, lambda _token: None, lambda _who, _what: False)
        self.mlflow.start()
        self.mlflow.wait()
        self.loaded = self.mlflow.loaded()
        self.tracking = Tracking(self.ledger, self.mlflow.run_source, Lineage(self.records))

    def run(self, name: str) -> tuple[str, str]:
        """Make a finished run with a logged model; return their ids."""
        from mlflow.entities import LoggedModelStatus, RunStatus

        store = self.loaded.tracking
        with internally():
            run_id = store.create_run("0", "x", 1, [], name).info.run_id
            model = store.create_logged_model("0", "model", run_id)
            store.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            store.update_run_info(run_id, RunStatus.FINISHED, 2, name)
        return run_id, model.model_id

    def register(self, name: str, run_id: str, model_id: str) -> None:
        """Register as a stock client does: MLflow's handler calls the two stores one after the other."""
        with acting_as(DEVELOPER):
            if not any(one.name == name for one in self.loaded.registry.search_registered_models()):
                self.loaded.registry.create_registered_model(name)
            made = self.loaded.registry.create_model_version(name, f"models:/{model_id}", run_id, model_id=model_id)
            projecting.tell_model(self.loaded, model_id, name, made.version)

    def reconcile(self, versions: tuple[Registered, ...] = ()) -> None:
        """Make one pass of a reconciler that has just started."""
        self.mlflow.registrations(
            Later(), freeze=self.tracking.freeze, frozen=self.tracking.frozen, registered=lambda: versions
        ).reconcile()  # fmt: skip

    def seen(self, name: str, run_id: str, model_id: str) -> dict[str, Any]:
        """Return what stands now."""
        with internally():
            versions = self.loaded.registry.search_model_versions(f"name = '{name}'")
            told = json.loads(self.loaded.tracking.get_logged_model(model_id).tags.get("mlflow.modelVersions", "[]"))
            entries = [self.ledger.entries(subject=f"{name}:{one.version}", kind="mlflow.registry.changed") for one in versions]
        return {
            "versions": [one.source == f"models:/{model_id}" for one in versions],
            "tags": [dict(one.tags) for one in versions],
            "told": [[one["name"], str(one["version"])] for one in told],
            "created": [[one.payload["what"] for one in found].count("version created") for found in entries],
            "frozen": bool(self.tracking.frozen([run_id])),
            "frozen_entries": len(self.ledger.entries(subject=run_id, kind="run.frozen")),
        }

    def dying(self, owner: Any, name: str, call: int, action: Any) -> int:
        """Do something in a forked process that is killed before one call of one function; return the signal that ended it."""
        for engine in (self.records.engine, self.loaded.tracking.engine, self.loaded.registry.engine):
            engine.dispose()
        if child := os.fork():
            return os.WTERMSIG(os.waitpid(child, 0)[1])
        calls, real = [], getattr(owner, name)

        def step(*arguments: Any, **named: Any) -> Any:
            calls.append(1)
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        setattr(owner, name, step)
        action()
        os._exit(0)


def main(home: Path) -> None:
    world = World(home)
    registry = world.loaded.registry
    deaths = {
        "before the source": (registry, "set_source", 1),
        "before the ledger entry": (Guard, "changed", 2),
        "before the ledger entry is committed": (Transaction, "close", 2),
        "before the model is told": (projecting, "tell_model", 1),
        "not at all": (projecting, "tell_model", 9),
    }
    found = {}
    for number, (point, (owner, name, call)) in enumerate(deaths.items()):
        run_id, model_id = world.run(point)
        model = f"stock-{number}"
        ended = world.dying(owner, name, call, lambda m=model, r=run_id, i=model_id: world.register(m, r, i))
        left = world.seen(model, run_id, model_id)
        killed = world.dying(Transaction, "record", 1 if point == "before the model is told" else 99, world.reconcile)
        world.reconcile()
        world.reconcile()
        found[point] = {"signal": ended, "second": killed, "left": left, "now": world.seen(model, run_id, model_id)}
    deaths = {
        "projected before the source": (registry, "set_source", 1),
        "projected before the model is told": (projecting, "tell_model", 1),
        "projected before the tag": (registry, "set_model_version_tag", 1),
    }
    for number, (point, (owner, name, call)) in enumerate(deaths.items()):
        run_id, model_id = world.run(point)
        version = Registered(id=f"ours-{number}@1", name=f"ours-{number}", run_id=run_id)
        ended = world.dying(owner, name, call, lambda v=version: world.reconcile((v,)))
        left = world.seen(version.name, run_id, model_id)
        world.reconcile((version,))
        world.reconcile((version,))
        found[point] = {"signal": ended, "second": 0, "left": left, "now": world.seen(version.name, run_id, model_id)}
    print(json.dumps({"points": found, "sound": world.ledger.verify().sound}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
