"""The composition root: settings in, wired services out. The only place where adapters meet domains."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from gateline.access import Access
from gateline.adapters.mlflow import EmbeddedMlflow, Registered
from gateline.data import Checkpoints, Contracts, Datasets, ObjectStore, Reconstructions, Retention, Sources, Spool, Tables
from gateline.features import (
    EventIntake,
    FeatureFits,
    FeatureSets,
    FeatureViews,
    Marks,
    Materialisation,
    OnlineFeatures,
    OnlineStore,
    SqliteOnlineStore,
)
from gateline.gates import Gates
from gateline.kernel.clock import HOUR, MINUTE, SECOND, SystemClock
from gateline.kernel.errors import ConfigurationError, InvalidInput, NotFound
from gateline.kernel.files import storage_errors
from gateline.kernel.lease import Lease
from gateline.kernel.logging import configure_logging
from gateline.kernel.names import split_version_id
from gateline.kernel.reconciling import Reconcilers, Step, WhenDue
from gateline.kernel.records import Records
from gateline.kernel.run_names import VERSION_TAG
from gateline.kernel.settings import variable
from gateline.ledger import Ledger, Outbox, SigningKey
from gateline.lineage import Lineage
from gateline.monitoring import Monitoring, Parity
from gateline.pipelines import (
    ALERT_KINDS,
    DATASET_VERSION,
    RUN_FINISHED,
    Approvals,
    Backfills,
    Jobs,
    PipelineLimits,
    Pipelines,
    Schedules,
    Showing,
    Triggers,
)
from gateline.registry import Registry
from gateline.reproduction import Evidence, Reproductions
from gateline.rollout import PROMOTED, Rollouts
from gateline.serving import Fleet, Serving, probe_latency, score_matrix
from gateline.tracking import Tracking

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from gateline.kernel.changes import Changes
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
    reconstructions: Reconstructions
    checkpoints: Checkpoints
    sources: Sources
    contracts: Contracts
    spool: Spool
    feature_sets: FeatureSets
    feature_fits: FeatureFits
    marks: Marks
    feature_views: FeatureViews
    online_features: OnlineFeatures
    event_intake: EventIntake
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
    jobs: Jobs
    reproductions: Reproductions
    mlflow: EmbeddedMlflow
    reconcilers: Reconcilers
    table_reconcilers: Reconcilers

    def start(self) -> None:
        """Begin workers, MLflow and the reconcilers; returns at once.

        Raises:
            PortInUse: another process listens on the serving port.
        """
        self.access.ensure_owner()
        self.fleet.start(ready_seconds=None)
        self.mlflow.start()
        self.reconcilers.start()
        self.table_reconcilers.start()

    def stop(self) -> None:
        """End everything that was started; nothing acknowledged is lost."""
        self.table_reconcilers.stop()
        self.reconcilers.stop()
        self.fleet.stop()
        self.mlflow.stop()
        self.online_features.store.close()
        self.records.close()

    def reconcile_once(self) -> None:
        """Let each reconciler make one pass in this thread."""
        self.table_reconcilers.pass_once()
        self.reconcilers.pass_once()


class _Pipelines(NamedTuple):
    """Pipelines, what starts them, and what holds them up, under the names that `App` has for them."""

    pipelines: Pipelines
    schedules: Schedules
    triggers: Triggers
    pipeline_limits: PipelineLimits
    backfills: Backfills
    approvals: Approvals
    jobs: Jobs


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
    records = _opened_records(settings)
    ledger = Ledger(records, clock, SigningKey.load_or_create(settings.keys_path))
    access = Access(ledger, settings.home)
    lineage = Lineage(records)
    data = _data(settings, ledger, access, lineage)
    objects, datasets, contracts = data.objects, data.datasets, data.contracts
    features = _features(ledger, lineage, datasets, contracts, _online_store(settings))
    feature_sets, feature_fits = features.feature_sets, features.feature_fits
    mlflow = EmbeddedMlflow(settings, ledger, access.authenticate, lambda who, needed: access.admits(who, needed).allowed, clock)
    tracking = Tracking(ledger, mlflow.run_source, lineage, **_claims(datasets, feature_fits))
    serving = Serving(ledger, objects, lineage, settings, tokens=access.prediction_tokens)
    monitoring = Monitoring(ledger, objects, serving)
    parity = Parity(ledger, serving, monitoring, feature_sets=feature_sets, datasets=datasets)
    gates = Gates(
        ledger, objects, lineage, score=partial(score_matrix, threads=os.cpu_count() or 1), probe=probe_latency,
        facts={"parity": lambda policy: parity.facts(policy.parity.endpoint)},
    )  # fmt: skip
    registry = Registry(
        ledger, objects, lineage, access=access, gates=gates, tracking=tracking, datasets=datasets, feature_sets=feature_sets,
        feature_fits=feature_fits,
    )  # fmt: skip
    rollouts = Rollouts(ledger, access, registry, serving, _Observed(serving, monitoring))
    pipelines = _pipelines(ledger, objects, access, datasets)
    trials = Showing(records, mlflow.trials)
    evidence = Evidence(objects, tracking=tracking, pipelines=pipelines.pipelines, datasets=datasets, feature_sets=feature_sets)
    reproductions = Reproductions(ledger, objects, registry=registry, pipelines=pipelines.pipelines, gates=gates, evidence=evidence)
    outbox = Outbox(records, clock, _starting(pipelines.triggers) | _shown(settings, mlflow, registry, trials))
    leading = partial(Lease, records, clock, owner=f"{socket.gethostname()}:{os.getpid()}")
    routes = Step("routes", serving.reconcile)
    steps = (
        Step("events", outbox.deliver),
        routes,
        Step("predictions", serving.ingest, always=True),
        Step("monitoring", monitoring.reconcile),
        *_of_pipelines(pipelines),
        Step("trials", trials.reconcile),
        Step("rollouts", rollouts.reconcile),
        routes,
        Step("feature parity", parity.reconcile),
        Step("registrations", _registrations(clock, mlflow, tracking, registry)),
        Step("features", WhenDue(clock, HOUR, features.online_features.prune)),
        *_mlflow_steps(mlflow, clock),
        Step("checkpoint", WhenDue(clock, round(settings.checkpoint_interval_seconds * SECOND), ledger.checkpoint)),
    )
    return App(
        settings=settings, records=records, ledger=ledger, access=access, lineage=lineage, **data._asdict(), **features._asdict(),
        event_intake=EventIntake(online=features.online_features, spool=data.spool, access=access),
        tracking=tracking, gates=gates, registry=registry, serving=serving, fleet=Fleet(settings), rollouts=rollouts,
        monitoring=monitoring, parity=parity, **pipelines._asdict(), reproductions=reproductions, mlflow=mlflow,
        reconcilers=Reconcilers(leading(name="reconcilers"), settings.reconcile_interval_seconds, steps, records.changes),
        table_reconcilers=_table_reconcilers(leading(name="tables"), settings, data, records.changes),
    )  # fmt: skip


class _Data(NamedTuple):
    """The services of data, under the names that the App gives them."""

    objects: ObjectStore
    datasets: Datasets
    retention: Retention
    spool: Spool
    sources: Sources
    reconstructions: Reconstructions
    checkpoints: Checkpoints
    contracts: Contracts


def _data(settings: Settings, ledger: Ledger, access: Access, lineage: Lineage) -> _Data:
    """Wire the services of data over one object store and one place of tables."""
    objects = ObjectStore(settings.objects_path)
    tables = Tables(settings.tables_location, cache=settings.tables_cache_path, storage_options=settings.tables_options)
    datasets = Datasets(ledger, objects, lineage, tables)
    sources = Sources(datasets, objects, settings.connections, clock=ledger.clock, variable=variable)
    return _Data(
        objects=objects, datasets=datasets, sources=sources,
        retention=Retention(ledger, datasets, objects, tables, lineage),
        spool=Spool(ledger, datasets, objects, tables),
        reconstructions=Reconstructions(ledger, datasets, objects, tables, sources),
        checkpoints=Checkpoints(
            ledger, tables, commits=settings.tables_checkpoint_commits, interval_seconds=settings.tables_checkpoint_seconds,
            log_days=settings.tables_log_days,
        ),
        contracts=Contracts(ledger, access, datasets),
    )  # fmt: skip


class _Features(NamedTuple):
    """The services of features, under the names that the App gives them."""

    feature_sets: FeatureSets
    feature_fits: FeatureFits
    feature_views: FeatureViews
    online_features: OnlineFeatures
    materialisation: Materialisation
    marks: Marks


def _features(ledger: Ledger, lineage: Lineage, datasets: Datasets, contracts: Contracts, online: OnlineStore) -> _Features:
    """Wire the services of features over one online store."""
    feature_sets = FeatureSets(ledger, lineage, datasets)
    feature_views = FeatureViews(ledger, feature_sets, lineage, online)
    return _Features(
        feature_sets=feature_sets,
        feature_fits=FeatureFits(ledger, lineage, feature_sets, datasets),
        feature_views=feature_views,
        online_features=OnlineFeatures(
            views=feature_views, feature_sets=feature_sets, datasets=datasets, store=online, clock=ledger.clock
        ),
        materialisation=Materialisation(ledger=ledger, views=feature_views, datasets=datasets, store=online),
        marks=Marks(ledger, feature_sets, contracts),
    )  # fmt: skip


def _opened_records(settings: Settings) -> Records:
    """Return the records database in the newest schema, in a home folder that is made when it is missing."""
    with storage_errors(settings.home):
        settings.home.mkdir(parents=True, exist_ok=True)
    records = Records(settings.records_location)
    records.migrate()
    return records


def _table_reconcilers(lease: Lease, settings: Settings, data: _Data, changes: Changes) -> Reconcilers:
    """Return what works on the Delta tables: a thread apart, so that an object store that hangs holds up no rollout and no alert."""
    steps = (Step("rows", data.spool.reconcile), Step("table checkpoints", data.checkpoints.reconcile))
    return Reconcilers(lease, settings.reconcile_interval_seconds, steps, changes)


def _mlflow_steps(mlflow: EmbeddedMlflow, clock: Clock) -> tuple[Step, ...]:
    """Return what keeps the embedded MLflow in order; nothing happens while it is not loaded."""
    return (
        Step("silent runs", WhenDue(clock, MINUTE, mlflow.close_silent_runs)),
        Step("MLflow's statistics", WhenDue(clock, 10 * MINUTE, mlflow.analyse)),
    )


def _starting(triggers: Triggers) -> dict[str, list[Callable[[dict[str, Any]], None]]]:
    """Return who starts pipelines on which kind of event."""
    return {**{kind: [triggers.on_alert] for kind in ALERT_KINDS}, DATASET_VERSION: [triggers.on_dataset_version]}


def _pipelines(ledger: Ledger, objects: ObjectStore, access: Access, datasets: Datasets) -> _Pipelines:
    """Wire pipelines, with what starts them and what holds them up."""
    pipelines, schedules = Pipelines(ledger, objects), Schedules(ledger)
    return _Pipelines(
        pipelines=pipelines, schedules=schedules, triggers=Triggers(ledger), pipeline_limits=PipelineLimits(ledger),
        backfills=Backfills(ledger, pipelines, schedules, datasets), approvals=Approvals(ledger, access, pipelines),
        jobs=Jobs(ledger, access, pipelines.desk),
    )  # fmt: skip


def _of_pipelines(found: _Pipelines) -> tuple[Step, ...]:
    """Return the reconcilers of pipelines: what is due is queued before runs are moved on and held up."""
    return (
        Step("schedules", found.schedules.reconcile),
        Step("triggers", found.triggers.reconcile),
        Step("backfills", found.backfills.reconcile),
        Step("approvals", found.approvals.reconcile),
        Step("pipelines", found.pipelines.reconcile),
        Step("pipeline limits", found.pipeline_limits.reconcile),
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


def _claims(datasets: Datasets, feature_fits: FeatureFits) -> dict[str, Callable[[str], str | None]]:
    """Return what the claims of a run are held against."""
    return {"dataset_digest": partial(_dataset_digest, datasets), "fit_digest": partial(_fit_digest, feature_fits)}


def _dataset_digest(datasets: Datasets, version: str) -> str | None:
    """Return the digest of a dataset version, or None when there is none of that id."""
    try:
        return datasets.get(*split_version_id(version)).digest
    except (InvalidInput, NotFound):
        return None


def _fit_digest(feature_fits: FeatureFits, identity: str) -> str | None:
    """Return the digest of a fit, or None when there is none of that id."""
    try:
        return feature_fits.get(identity).digest
    except (InvalidInput, NotFound):
        return None


def _registrations(clock: Clock, mlflow: EmbeddedMlflow, tracking: Tracking, registry: Registry) -> WhenDue:
    """Return what finishes registrations that were cut short, every five seconds."""

    def registered() -> list[Registered]:
        found = (version for model in registry.models() for version in registry.versions(model.name))
        return [Registered(id=version.id, name=version.name, run_id=version.run_id) for version in found]

    reconciler = mlflow.registrations(clock, freeze=tracking.freeze, frozen=tracking.frozen, registered=registered)
    return WhenDue(clock, 5 * SECOND, reconciler.reconcile)


def _shown(
    settings: Settings, mlflow: EmbeddedMlflow, registry: Registry, trials: Showing
) -> dict[str, list[Callable[[dict[str, Any]], None]]]:
    """Return what shows promotions and ends of runs in MLflow, when there is one."""
    return {PROMOTED: [_Projection(mlflow, registry).promoted], RUN_FINISHED: [trials.run_finished]} if settings.mlflow else {}


class _Projection:
    """Shows in MLflow's registry what ours decided."""

    def __init__(self, mlflow: EmbeddedMlflow, registry: Registry) -> None:
        self._mlflow = mlflow
        self._registry = registry

    def promoted(self, event: dict[str, Any]) -> None:
        """Point MLflow's @production at the version that is in production now, when its run logged a model that MLflow can show."""
        version = self._registry.get(event["version"])
        try:
            number = self._mlflow.project_version(version.name, version.run_id, tags={VERSION_TAG: version.id})
        except NotFound as error:
            _log.warning("mlflow.production_not_shown", version=version.id, reason=str(error))
            return
        self._mlflow.project_alias(version.name, "production", number)
