"""Endpoints, their routes and the predictions they gave: what the control plane keeps and tells."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from gateline.kernel.errors import Conflict, InvalidInput, NotFound
from gateline.kernel.names import valid_name
from gateline.kernel.passes import step_each
from gateline.lineage import Node
from gateline.serving import store
from gateline.serving.fleet import read_statuses
from gateline.serving.model import SERVING_DOCUMENT, Endpoint, Environment
from gateline.serving.publish import grants, lay_out_form, route_document, route_path, stored_form, write_snapshot
from gateline.serving.rules import check_endpoint, check_form, check_route
from gateline.serving.segments import Segments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import polars as pl
    from sqlalchemy.orm import Session

    from gateline.access import TokenGrant
    from gateline.data import ObjectStore
    from gateline.kernel.settings import Settings
    from gateline.ledger import Ledger, Transaction
    from gateline.lineage import Lineage
    from gateline.serving.model import FeatureSpec, Prediction, PredictionSegment, Route, RouteArm
    from gateline.serving.routing import GrantDocument


class Serving:
    """Endpoints, routes and predictions.

    Args:
        ledger: Records every change.
        objects: Holds the files of served forms.
        lineage: Learns which version made which predictions.
        settings: Says where the serving folder is.
        tokens: Tells which API tokens may request predictions (`Access.prediction_tokens`).
    """

    def __init__(
        self, ledger: Ledger, objects: ObjectStore, lineage: Lineage, settings: Settings, *, tokens: Callable[[], Sequence[TokenGrant]]
    ) -> None:
        self._ledger = ledger
        self._objects = objects
        self._lineage = lineage
        self._tokens = tokens
        self.folder: Path = settings.serving_path.absolute()
        self._lock = threading.Lock()
        self._written: dict[str, tuple[int, tuple[GrantDocument, ...]]] = {}
        self._segments = Segments(ledger, objects, lineage, self.folder)

    def create_endpoint(
        self, actor: str, name: str, *, model: str, features: Sequence[FeatureSpec], environment: Environment | str, latency_ms_p99: float
    ) -> Endpoint:
        """Create an endpoint without a route; the same call again changes nothing.

        Args:
            actor: Who creates it.
            name: Its name.
            model: Name of the registered model it will serve.
            features: What callers send.
            environment: dev, staging or prod.
            latency_ms_p99: The 99th percentile of answer time it promises, in milliseconds.

        Raises:
            InvalidInput: names every mistake.
            Conflict: an endpoint of that name declares something else.
        """
        valid_name("endpoint", name)
        valid_name("model", model)
        check_endpoint(features, latency_ms_p99)
        try:
            place = Environment(environment)
        except ValueError as error:
            raise InvalidInput(f"'{environment}' is no environment.", next_step="Use dev, staging or prod.") from error
        with self._ledger.transaction(actor) as tx:
            row = tx.session.get(store.EndpointRow, name)
            wanted: dict[str, Any] = {
                "model": model, "environment": place.value, "features": [one.as_dict() for one in features],
                "latency_ms_p99": float(latency_ms_p99),
            }  # fmt: skip
            if row is not None:
                different = [key for key, value in wanted.items() if getattr(row, key) != value]
                if different:
                    raise Conflict(f"Endpoint '{name}' exists with another {', '.join(different)}.", next_step="Choose another name.")
                return store.to_endpoint(row)
            row = store.EndpointRow(name=name, generation=0, created_at=tx.now, created_by=actor, **wanted)
            tx.session.add(row)
            tx.record("endpoint.created", name, wanted)
            return store.to_endpoint(row)

    def endpoint(self, name: str) -> Endpoint:
        """Return an endpoint; raises NotFound."""
        with self._ledger.records.read() as session:
            return store.to_endpoint(_endpoint_row(session, name))

    def endpoints(self) -> list[Endpoint]:
        """Return every endpoint by name."""
        with self._ledger.records.read() as session:
            return store.endpoints(session)

    def publish_route(
        self, tx: Transaction, endpoint: str, arms: Sequence[RouteArm], shadow: Sequence[RouteArm] = (), *, salt: str = "", reason: str = ""
    ) -> int:
        """Make a new routing the wanted one, inside the caller's transaction; `reconcile` brings it to the workers.

        Args:
            tx: The change that this belongs to.
            endpoint: Whose route.
            arms: Who answers, and with which share; one is named `champion`.
            shadow: Who scores every champion row unseen.
            salt: Key of the sticky hash; empty keeps that of the route before, so that widening only moves entities one way.
            reason: One sentence.

        Returns:
            The generation: 1 for the first route, then one more each time.

        Raises:
            NotFound: there is no such endpoint, or a file of a form is not in the object store.
            InvalidInput: the arms are not sound, or a form does not fit the endpoint.
            IntegrityFailure: a form's files contradict each other.
        """
        row = _endpoint_row(tx.session, endpoint, for_update=True)
        declared = store.to_endpoint(row)
        check_route(arms, shadow)
        for arm in (*arms, *shadow):
            check_form(arm.version, declared.features, stored_form(self._objects, arm.form).inputs)
        before = tx.session.get(store.RouteRow, (endpoint, row.generation))
        row.generation += 1
        published = store.RouteRow(
            endpoint=endpoint, generation=row.generation, salt=salt or (before.salt if before is not None else endpoint),
            arms=[arm.as_dict() for arm in arms], shadow=[arm.as_dict() for arm in shadow],
            published_at=tx.now, published_by=tx.actor, reason=reason,
        )  # fmt: skip
        tx.session.add(published)
        tx.session.flush()
        for arm in (*arms, *shadow):
            self._lineage.link(tx, Node(kind="model_version", id=arm.version), Node(kind="endpoint", id=endpoint), "served_by")
        tx.record("endpoint.route.published", endpoint, store.to_route(published).as_dict())
        return published.generation

    def route(self, endpoint: str, generation: int | None = None) -> Route:
        """Return a route of an endpoint, the newest when no generation is given; raises NotFound."""
        with self._ledger.records.read() as session:
            row = _endpoint_row(session, endpoint)
            found = session.get(store.RouteRow, (endpoint, row.generation if generation is None else generation))
            if found is None:
                raise NotFound(f"Endpoint '{endpoint}' has no route{'' if generation is None else f' {generation}'} yet.")
            return store.to_route(found)

    def routes(self, endpoint: str) -> list[Route]:
        """Return every route of an endpoint, oldest first."""
        with self._ledger.records.read() as session:
            return store.routes(session, endpoint)

    def reconcile(self) -> int:
        """Bring the newest route of every endpoint, and who may ask, to the files that workers watch; returns how many were written.

        Safe to call at any time and from anywhere: what is right already stays.

        Raises:
            StorageFull: the disk is full; old snapshots stay in force.
            IntegrityFailure: a stored file of a form was changed; the old snapshot stays in force.
        """
        tokens = grants(self._tokens())
        with self._lock:
            endpoints = {endpoint.name: endpoint for endpoint in self.endpoints()}
            return step_each(endpoints, lambda endpoint: self._write_when_new(endpoint, tokens), what="publishing a route")

    def _write_when_new(self, endpoint: Endpoint, tokens: tuple[GrantDocument, ...]) -> bool:
        state = (endpoint.generation, tokens)
        path = route_path(self.folder, endpoint.name)
        if endpoint.generation == 0 or (self._written.get(endpoint.name) == state and path.exists()):
            return False
        written = self._write(endpoint, tokens)
        self._written[endpoint.name] = state
        return written

    def _write(self, endpoint: Endpoint, tokens: Sequence[GrantDocument]) -> bool:
        route = self.route(endpoint.name, endpoint.generation)
        forms = {arm.form[SERVING_DOCUMENT]: arm.form for arm in (*route.arms, *route.shadow)}
        references = {digest: lay_out_form(self.folder, self._objects, files) for digest, files in forms.items()}
        return write_snapshot(route_path(self.folder, endpoint.name), route_document(endpoint, route, tokens, references))

    def state(self, name: str) -> dict[str, Any]:
        """Return an endpoint with its route, what each worker serves, how many predictions are recorded, and the watermark."""
        endpoint = self.endpoint(name)
        with self._ledger.records.read() as session:
            query = select(
                func.count(), func.coalesce(func.sum(store.SegmentRow.record_count), 0), func.max(store.SegmentRow.max_event_time)
            ).where(store.SegmentRow.endpoint == name)
            segments, records, watermark = session.execute(query).one()
        workers = []
        for one in read_statuses(self.folder):
            seen = one.routes.get(name)
            generation, error = (seen.generation, seen.error) if seen is not None else (0, "")
            workers.append({"name": one.name, "pid": one.pid, "ready": one.ready, "generation": generation, "error": error})
        return {
            **endpoint.as_dict(),
            "route": self.route(name).as_dict() if endpoint.generation else None,
            "workers": workers,
            "segments": segments,
            "records": int(records),
            "watermark": watermark,
        }

    def ingest(self, endpoint: str = "") -> int:
        """Move what is new in the worker logs into segments, at most one per endpoint and call; returns the number of records.

        Each acknowledged record gets into exactly one segment, after crashes too.

        Args:
            endpoint: Whose logs; those of every endpoint when it is empty.

        Raises:
            NotFound: there is no such endpoint.
            IntegrityFailure: a log holds what no worker writes; the other endpoints were served.
            StorageFull: the disk is full; the records stay in the logs and are taken later.
        """
        wanted = [self.endpoint(endpoint)] if endpoint else self.endpoints()
        return step_each({one.name: one for one in wanted}, self._segments.ingest, what="taking in predictions")

    def segments(self, endpoint: str, *, after: int | None = None) -> list[PredictionSegment]:
        """Return the segments of an endpoint with an id greater than `after`, oldest first."""
        return self._segments.select(endpoint, after=after)

    def last_segment(self, endpoint: str) -> int:
        """Return the id of the newest segment; 0 when there is none."""
        return self._segments.last(endpoint)

    def predictions(
        self, endpoint: str, *, start: int | None = None, end: int | None = None, after_segment: int | None = None,
        until_segment: int | None = None, columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:  # fmt: skip
        """Return recorded predictions in the order they were ingested; the columns are those of `ingest.schema`, always.

        Args:
            endpoint: Whose predictions.
            start: Smallest event time, UTC microseconds, inclusive.
            end: Largest event time, exclusive.
            after_segment: Only segments with a greater id.
            until_segment: Only segments with this id or a smaller one.
            columns: Only these columns.

        Raises:
            NotFound: there is no such endpoint.
        """
        found = self.endpoint(endpoint)
        chosen = self._segments.select(endpoint, after=after_segment, until=until_segment, start=start, end=end)
        return self._segments.read(found, chosen, start=start, end=end, columns=columns)

    def find_prediction(self, prediction_id: str) -> Prediction:
        """Return an answered prediction by its id, also one that was answered a moment ago; raises NotFound."""
        try:
            return self._segments.find(prediction_id, self.endpoint)
        except NotFound:
            if self.ingest() == 0:
                raise
            return self._segments.find(prediction_id, self.endpoint)

    def verify_segments(self, endpoint: str) -> int:
        """Hash every segment file of an endpoint again; returns how many are intact, raises IntegrityFailure naming the others."""
        return self._segments.verify(endpoint)


def _endpoint_row(session: Session, name: str, *, for_update: bool = False) -> store.EndpointRow:
    row = session.get(store.EndpointRow, name, with_for_update=for_update)
    if row is None:
        raise NotFound(f"There is no endpoint '{name}'.", next_step="Create it: gateline endpoint create NAME --model MODEL")
    return row
