"""An installation without a control plane: records, access, serving and a fleet, and a plain HTTP connection to it."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateline.access import Access
from gateline.data import ObjectStore
from gateline.kernel.settings import Settings
from gateline.lineage import Lineage
from gateline.serving import Environment, Fleet, RouteArm, Serving
from tests.unit.serving.support import FEATURES, form_files, infer_body

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.ledger import Ledger


@dataclass
class Installation:
    """Everything that serving needs."""

    home: Path
    ledger: Ledger
    settings: Settings = field(init=False)
    access: Access = field(init=False)
    objects: ObjectStore = field(init=False)
    lineage: Lineage = field(init=False)
    serving: Serving = field(init=False)
    tokens: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.settings = Settings(home=self.home, serving_port=0, workers=1)
        self.access = Access(self.ledger, self.home)
        self.objects = ObjectStore(self.settings.objects_path)
        self.lineage = Lineage(self.ledger.records)
        self.serving = self.another_serving()
        self.tokens = {}
        for role in ("operator", "replayer", "auditor"):
            kind = "service" if role == "replayer" else "person"
            self.access.create_principal("owner", f"the-{role}", [role], kind)
            self.tokens[role] = self.access.create_token("owner", f"the-{role}")

    def another_serving(self) -> Serving:
        """The same installation as another process would open it."""
        return Serving(self.ledger, self.objects, self.lineage, self.settings, tokens=self.access.prediction_tokens)

    def create(self, name: str = "flights") -> None:
        self.serving.create_endpoint(
            "developer", name, model="flight-delay", features=FEATURES, environment=Environment.PROD, latency_ms_p99=20.0
        )

    def arm(self, name: str, seed: int, weight: float, files: dict[str, bytes] | None = None) -> RouteArm:
        """An arm whose version number is the seed of its model."""
        stored = {key: self.objects.put_bytes(content).sha256 for key, content in (files or form_files(seed)).items()}
        return RouteArm(name=name, version=f"flight-delay@{seed}", weight=weight, form=stored)

    def publish(self, *arms: RouteArm, shadow: tuple[RouteArm, ...] = (), endpoint: str = "flights") -> int:
        """Publish a route and bring it to the file that workers watch."""
        with self.ledger.transaction("operator") as tx:
            generation = self.serving.publish_route(tx, endpoint, arms, shadow, reason="a test wants it")
        self.serving.reconcile()
        return generation

    def serve(self, *arms: RouteArm, fleet: Fleet, shadow: tuple[RouteArm, ...] = ()) -> int:
        """Publish a route and wait until workers answer from it."""
        generation = self.publish(*arms, shadow=shadow)
        fleet.wait_loaded("flights", generation)
        return generation


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: dict[str, Any]


def post(
    fleet: Fleet,
    token: str,
    body: Any = None,
    *,
    path: str = "/v2/models/flights/infer",
    method: str = "POST",
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request over a connection of its own."""
    content = body if isinstance(body, bytes) else json.dumps(infer_body() if body is None else body).encode()
    given = {"Authorization": f"Bearer {token}"} if token else {}
    with closing(http.client.HTTPConnection("127.0.0.1", fleet.port, timeout=20)) as connection:
        connection.request(method, path, content if method == "POST" else None, given | (headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, json.loads(answer.read()))
