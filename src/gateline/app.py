"""The composition root: settings in, wired services out. The only place where adapters meet domains."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from gateline.access import Access
from gateline.adapters.mlflow import EmbeddedMlflow
from gateline.data import Contracts, Datasets, ObjectStore, Retention, Sources, Spool, Tables
from gateline.features import FeatureSets, FeatureViews, Marks, Materialisation, OnlineFeatures, OnlineStore, SqliteOnlineStore
from gateline.gates import Gates
from gateline.kernel.clock import HOUR, SECOND, SystemClock
from gateline.kernel.errors import ConfigurationError, GatelineError, InvalidInput, NotFound
from gateline.kernel.files import storage_errors
from gateline.kernel.lease import Lease
from gateline.kernel.logging import configure_logging
from gateline.kernel.names import split_version_id
from gateline.kernel.records import Records
from gateline.kernel.settings import variable
from gateline.ledger import Ledger, Outbox, SigningKey
from gateline.lineage import Lineage
from gateline.monitoring import Monitoring, Parity
from gateline.pipelines import ALERT_KINDS, DATASET_VERSION, Approvals, Backfills, PipelineLimits, Pipelines, Schedules, Triggers
from gateline.registry import Registry
from gateline.rollout import PROMOTED, Rollouts
from gateline.serving import Fleet, Serving, probe_latency, score_matrix
from gateline.tracking import Tracking

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from gateline.kernel.clock import Clock
    from gateline.kernel.settings import Settings

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The services of one installation, wired.

    `start` begins workers, MLflow and the reconcilers; `stop` ends them. Without `start` the services work on the records alone,
    which is what a command on a local folder needs.
    """

    settings: Settings
    records: Records
    ledger: Ledger
    access: Access
    lineage: Lineage
    objects: ObjectStore
    datasets: Datasets
    retention: Retention
    sources: Sources
    contracts: Contracts
    spool: Spool
    feature_sets: FeatureSets
    marks: Marks
    feature_views: FeatureViews
    online_features: OnlineFeatures
    materialisation: Materialisation
    tracking: Tracking
    gates: Gates
    registry: Registry
    serving: Serving
    fleet: Fleet
    rollouts: Rollouts
    monitoring: Monitoring
    parity: Parity
    pipelines: Pipelines
    schedules: Schedules
    triggers: Triggers
    pipeline_limits: PipelineLimits
    backfills: Backfills
    approvals: Approvals
    mlflow: EmbeddedMlflow
    reconcilers: Reconcilers

    def start(self) -> None:
        """Begin workers, MLflow and the reconcilers; returns at once.

        Raises:
            PortInUse: another process listens on the serving port.
        """
        self.access.ensure_owner()
        self.fleet.start(ready_seconds=None)
        self.mlflow.start()
        self.reconcilers.start()

    def stop(self) -> None:
        """End everything that was started; nothing acknowledged is lost."""
        self.reconcilers.stop()
        self.fleet.stop()
        self.mlflow.stop()
        self.online_features.store.close()
        self.records.close()

    def reconcile_once(self) -> None:
        """Let each reconciler make one pass in this thread."""
        self.reconcilers.pass_once()


class Reconcilers:
    """The thread that moves the world towards the records, one idempotent step at a time.

    Args:
        lease: Held by the one process that reconciles.
        interval_seconds: Pause between two passes.
        steps: Name and function of each reconciler, in the order in which they run.
    """

    def __init__(self, lease: Lease, interval_seconds: float, steps: tuple[tuple[str, Callable[[], Any]], ...]) -> None:
        self._lease = lease
        self._interval_seconds = interval_seconds
        self._steps = steps
        self._stopping = threading.Event()
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to reconcile in a background thread."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="reconcilers", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the step under way, and let another process lead."""
        if self._thread is None:
            return
        self._stopping.set()
        self._awake.set()
        self._thread.join()
        self._thread = None
        self._lease.release()

    def wake(self) -> None:
        """Begin the next pass now: something has come that they wait for. Safe to call often and from any thread."""
        self._awake.set()

    def pass_once(self) -> None:
        """Run each reconciler once when this process leads; a failing one is logged and tried again in the next pass."""
        if not self._lease.hold():
            return
        for name, step in self._steps:
            if self._stopping.is_set():
                return
            try:
                step()
            except GatelineError as error:
                _log.warning("reconciler.failed", reconciler=name, code=error.code, failure=str(error))
            except Exception:  # the boundary of the reconciler loop: one broken record must not stop the others
                _log.exception("reconciler.broken", reconciler=name)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._awake.wait(self._interval_seconds)
            self._awake.clear()
            self.pass_once()


class _Pipelines(NamedTuple):
    """Pipelines, what starts them, and what holds them up, under the names that `App` has for them."""

    pipelines: Pipelines
    schedules: Schedules
    triggers: Triggers
    pipeline_limits: PipelineLimits
    backfills: Backfills
    approvals: Approvals


class _Observed:
    """Requests and labels as rollouts look at them."""

    def __init__(self, serving: Serving, monitoring: Monitoring) -> None:
        self._serving = serving
        self._monitoring = monitoring

    def mark(self, endpoint: str) -> tuple[int, ...]:
        return self._serving.last_segment(endpoint), self._monitoring.label_batch(endpoint)

    def watermark(self, endpoint: str) -> int:
        return self._monitoring.watermark(endpoint) or 0

    def rows(self, endpoint: str, start: int, end: int | None = None) -> pl.DataFrame:
        return self._monitoring.labelled(endpoint, start, end)


def build(settings: Settings, clock: Clock | None = None) -> App:
    """Wire the services of the installation in `settings.home`, creating what is missing.

    Raises:
        StorageFull: there is no room for the folder.
        ConfigurationError: keys or the database cannot be used; the message says why.
    """
    configure_logging(settings.log_level)
    clock = clock or SystemClock()
    with storage_errors(settings.home):
        settings.home.mkdir(parents=True, exist_ok=True)
    records = Records(settings.records_location)
    records.migrate()
    ledger = Ledger(records, clock, SigningKey.load_or_create(settings.keys_path))
    access = Access(ledger, settings.home)
    lineage = Lineage(records)
    objects = ObjectStore(settings.objects_path)
    tables = Tables(settings.tables_location, cache=settings.tables_cache_path, storage_options=settings.tables_options)
    datasets = Datasets(ledger, objects, lineage, tables)
    retention = Retention(ledger, datasets, objects, tables, lineage)
    spool = Spool(ledger, datasets, objects, tables)
    sources = Sources(datasets, objects, settings.connections, clock=clock, variable=variable)
    contracts = Contracts(ledger, access, datasets)
    feature_sets = FeatureSets(ledger, lineage, datasets)
    online = _online_store(settings)
    feature_views = FeatureViews(ledger, feature_sets, lineage, online)
    online_features = OnlineFeatures(views=feature_views, feature_sets=feature_sets, datasets=datasets, store=online, clock=clock)
    mlflow = EmbeddedMlflow(settings, ledger, access.authenticate, lambda principal, needed: access.admits(principal, needed).allowed)
    tracking = Tracking(ledger, mlflow.run_source, lineage, dataset_digest=lambda version: _dataset_digest(datasets, version))
    serving = Serving(ledger, objects, lineage, settings, tokens=access.prediction_tokens)
    monitoring = Monitoring(ledger, objects, serving)
    parity = Parity(ledger, serving, monitoring, feature_sets=feature_sets, datasets=datasets)
    gates = Gates(
        ledger, objects, lineage, score=partial(score_matrix, threads=os.cpu_count() or 1), probe=probe_latency,
        facts={"parity": lambda policy: parity.facts(policy.parity.endpoint)},
    )  # fmt: skip
    registry = Registry(
        ledger, objects, lineage, access=access, gates=gates, tracking=tracking, datasets=datasets, feature_sets=feature_sets
    )
    rollouts = Rollouts(ledger, access, registry, serving, _Observed(serving, monitoring))
    pipelines = _pipelines(ledger, objects, access, datasets)
    shown = [_Projection(mlflow, registry).promoted] if settings.mlflow else []
    outbox = Outbox(records, clock, _starting(pipelines.triggers) | {PROMOTED: shown})
    lease = Lease(records, clock, name="reconcilers", owner=f"{socket.gethostname()}:{os.getpid()}")
    steps = (
        ("events", outbox.deliver),
        ("routes", serving.reconcile),
        ("rows", spool.reconcile),
        ("predictions", serving.ingest),
        ("monitoring", monitoring.reconcile),
        *_of_pipelines(pipelines),
        ("rollouts", rollouts.reconcile),
        ("routes after rollouts", serving.reconcile),
        ("feature parity", parity.reconcile),
        ("features", _Pruning(online_features, clock).prune_when_due),
        ("checkpoint", _Checkpoints(ledger, clock, settings.checkpoint_interval_seconds).sign_when_due),
    )
    return App(
        settings=settings, records=records, ledger=ledger, access=access, lineage=lineage, objects=objects, datasets=datasets,
        retention=retention, sources=sources, contracts=contracts, spool=spool, feature_sets=feature_sets,
        marks=Marks(ledger, feature_sets, contracts), feature_views=feature_views, online_features=online_features,
        materialisation=Materialisation(ledger=ledger, views=feature_views, datasets=datasets, store=online), tracking=tracking,
        gates=gates, registry=registry, serving=serving, fleet=Fleet(settings), rollouts=rollouts, monitoring=monitoring, parity=parity,
        **pipelines._asdict(), mlflow=mlflow,
        reconcilers=Reconcilers(lease, settings.reconcile_interval_seconds, steps),
    )  # fmt: skip


def _starting(triggers: Triggers) -> dict[str, list[Callable[[dict[str, Any]], None]]]:
    """Return who starts pipelines on which kind of event."""
    return {**{kind: [triggers.on_alert] for kind in ALERT_KINDS}, DATASET_VERSION: [triggers.on_dataset_version]}


def _pipelines(ledger: Ledger, objects: ObjectStore, access: Access, datasets: Datasets) -> _Pipelines:
    """Wire pipelines, with what starts them and what holds them up."""
    pipelines, schedules = Pipelines(ledger, objects), Schedules(ledger)
    return _Pipelines(
        pipelines=pipelines, schedules=schedules, triggers=Triggers(ledger), pipeline_limits=PipelineLimits(ledger),
        backfills=Backfills(ledger, pipelines, schedules, datasets), approvals=Approvals(ledger, access, pipelines),
    )  # fmt: skip


def _of_pipelines(found: _Pipelines) -> tuple[tuple[str, Callable[[], int]], ...]:
    """Return the reconcilers of pipelines: what is due is queued before runs are moved on and held up."""
    return (
        ("schedules", found.schedules.reconcile),
        ("triggers", found.triggers.reconcile),
        ("backfills", found.backfills.reconcile),
        ("approvals", found.approvals.reconcile),
        ("pipelines", found.pipelines.reconcile),
        ("pipeline limits", found.pipeline_limits.reconcile),
    )


def _online_store(settings: Settings) -> OnlineStore:
    """Return the online store that the settings name."""
    if not settings.online_url:
        return SqliteOnlineStore(settings.online_path)
    try:
        from gateline.adapters.redis import RedisOnlineStore
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "GATELINE_ONLINE_URL names a Redis server, and the package for it is not installed.",
            next_step="Install gateline[redis], or leave the setting empty.",
        ) from error
    return RedisOnlineStore(settings.online_url)


def _dataset_digest(datasets: Datasets, version: str) -> str | None:
    """Return the digest of a dataset version, or None when there is none of that id."""
    try:
        return datasets.get(*split_version_id(version)).digest
    except (InvalidInput, NotFound):
        return None


class _Checkpoints:
    """Signs the ledger from time to time."""

    def __init__(self, ledger: Ledger, clock: Clock, interval_seconds: float) -> None:
        self._ledger = ledger
        self._clock = clock
        self._interval = round(interval_seconds * SECOND)
        self._due = 0

    def sign_when_due(self) -> None:
        """Sign a checkpoint when the interval has passed; a clock set back signs early rather than late."""
        now = self._clock.now()
        if now >= self._due or self._due - now > self._interval:
            self._ledger.checkpoint()
            self._due = now + self._interval


class _Pruning:
    """Drops from the online store what no time can need any more, once an hour."""

    def __init__(self, online_features: OnlineFeatures, clock: Clock) -> None:
        self._online_features = online_features
        self._clock = clock
        self._due = 0

    def prune_when_due(self) -> None:
        """Prune when the hour has passed."""
        now = self._clock.now()
        if now >= self._due or self._due - now > HOUR:
            self._online_features.prune()
            self._due = now + HOUR


class _Projection:
    """Shows in MLflow's registry what ours decided."""

    def __init__(self, mlflow: EmbeddedMlflow, registry: Registry) -> None:
        self._mlflow = mlflow
        self._registry = registry

    def promoted(self, event: dict[str, Any]) -> None:
        """Point MLflow's @production at the version that is in production now."""
        version = self._registry.get(event["version"])
        number = self._mlflow.project_version(version.name, version.run_id, tags={"gateline.model_version": version.id})
        self._mlflow.project_alias(version.name, "production", number)
