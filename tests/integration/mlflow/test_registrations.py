"""The reconciler of registrations where MLflow refuses: one broken version stops no other, and one under way is left alone."""

from __future__ import annotations

import pytest
from mlflow.entities import LoggedModelStatus, RunStatus
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from gateline.adapters.mlflow import Registered
from gateline.adapters.mlflow.guard import internally
from gateline.adapters.mlflow.registrations import QUIET_SECONDS
from gateline.kernel.clock import SECOND, SimulatedClock, SystemClock

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of their own future


@pytest.fixture
def clock():
    return SimulatedClock(start=SystemClock().now() + 2 * QUIET_SECONDS * SECOND)


@pytest.fixture
def versions():
    """Versions of our registry."""
    return []


@pytest.fixture
def reconciler(served, clock, versions):
    tracking = served.tracking
    return served.mlflow.registrations(clock, freeze=tracking.freeze, frozen=tracking.frozen, registered=lambda: versions)


def made(served, name):
    """Return run, logged model and version of a finished run whose model was registered in MLflow."""
    loaded = served.mlflow.loaded()
    with internally():
        run_id = loaded.tracking.create_run("0", "x", 1, [], name).info.run_id
        model = loaded.tracking.create_logged_model("0", "model", run_id)
        loaded.tracking.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        loaded.tracking.update_run_info(run_id, RunStatus.FINISHED, 2, name)
        loaded.registry.create_registered_model(name)
        version = loaded.registry.create_model_version(name, f"models:/{model.model_id}", run_id, model_id=model.model_id)
    return run_id, model.model_id, version


def test_a_version_whose_logged_model_is_gone_stops_no_other_and_is_looked_at_once(served, reconciler, versions, monkeypatch):
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    loaded = served.mlflow.loaded()
    _, gone, _ = made(served, "a-gone")
    run_id, model_id, _ = made(served, "b-whole")
    versions.append(Registered(id="c-ours@1", name="c-ours", run_id=run_id))
    SqlAlchemyStore.delete_logged_model(loaded.tracking, gone)  # as only who holds the database can
    reconciler.reconcile()
    assert served.tracking.frozen([run_id])
    with internally():
        (shown,) = loaded.registry.search_model_versions("name = 'c-ours'")
    assert shown.source == f"models:/{model_id}"
    asked, get = [], loaded.tracking.get_logged_model
    monkeypatch.setattr(loaded.tracking, "get_logged_model", lambda model, *more: asked.append(model) or get(model, *more))
    reconciler.reconcile()
    assert gone not in asked


@pytest.mark.parametrize("failure", [MlflowException("the database is busy"), OperationalError("", {}, Exception("disk I/O error"))])
def test_a_version_that_cannot_be_mended_now_is_mended_in_a_later_pass_and_ours_are_shown_meanwhile(
    served, reconciler, versions, monkeypatch, failure
):
    loaded, name = served.mlflow.loaded(), type(failure).__name__.lower()
    run_id, _, _ = made(served, f"later-{name}")
    other, _, _ = made(served, f"shown-{name}")
    versions.append(Registered(id=f"shown-{name}@1", name=f"shown-{name}", run_id=other))
    get = loaded.tracking.get_run

    def failing(asked):
        if asked == run_id:
            raise failure
        return get(asked)

    with monkeypatch.context() as patch:
        patch.setattr(loaded.tracking, "get_run", failing)
        reconciler.reconcile()
    assert not served.tracking.frozen([run_id])
    with internally():
        assert loaded.registry.get_model_version(f"shown-{name}", "1").tags["gateline.model_version"] == f"shown-{name}@1"
    reconciler.reconcile()
    assert served.tracking.frozen([run_id])


def test_one_version_of_ours_that_cannot_be_shown_hides_no_other(served, reconciler, versions, monkeypatch):
    loaded = served.mlflow.loaded()
    for name in ("hidden", "open"):
        run_id, _, _ = made(served, name)
        versions.append(Registered(id=f"{name}@1", name=name, run_id=run_id))
    get = loaded.registry.get_registered_model

    def failing(name):
        if name == "hidden":
            raise MlflowException("the database is busy")
        return get(name)

    def tags(name):
        with internally():
            return get(name) and loaded.registry.get_model_version(name, "1").tags

    with monkeypatch.context() as patch:
        patch.setattr(loaded.registry, "get_registered_model", failing)
        reconciler.reconcile()
    assert (tags("hidden"), tags("open")) == ({}, {"gateline.model_version": "open@1"})
    reconciler.reconcile()
    assert tags("hidden") == {"gateline.model_version": "hidden@1"}


def test_a_version_that_was_made_just_now_is_left_to_who_makes_it(served, reconciler, clock):
    loaded = served.mlflow.loaded()
    run_id, model_id, version = made(served, "young")
    with internally():
        loaded.registry.set_source("young", version.version, loaded.tracking.get_logged_model(model_id).artifact_location)
    clock.advance(SystemClock().now() / SECOND - clock.now() / SECOND + QUIET_SECONDS - 30)
    reconciler.reconcile()
    with internally():
        assert loaded.registry.get_model_version("young", version.version).source != f"models:/{model_id}"
    clock.advance(31)
    reconciler.reconcile()
    with internally():
        assert loaded.registry.get_model_version("young", version.version).source == f"models:/{model_id}"
    assert served.tracking.frozen([run_id])
