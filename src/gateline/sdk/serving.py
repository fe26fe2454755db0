"""Endpoints through the API, and predictions from the workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx

from gateline.kernel.clock import iso
from gateline.kernel.errors import GatelineError, Unavailable, all_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from gateline.sdk.client import Client

_SECONDS_MAX = 30.0


def create_endpoint(
    client: Client, name: str, *, model: str, features: Mapping[str, str], latency_ms_p99: float, environment: str = "prod"
) -> dict[str, Any]:
    """Create an endpoint; the same call again changes nothing.

    Args:
        client: The connection.
        name: Its name.
        model: The registered model it will serve.
        features: `numeric` or `categorical` by feature name, in order.
        latency_ms_p99: The 99th percentile of answer time it promises, in milliseconds.
        environment: dev, staging or prod.
    """
    body = {
        "name": name, "model": model, "environment": environment, "latency_ms_p99": latency_ms_p99,
        "features": [{"name": feature, "kind": kind} for feature, kind in features.items()],
    }  # fmt: skip
    answer: dict[str, Any] = client.post("/endpoints", json=body)
    return answer


def endpoints(client: Client) -> list[dict[str, Any]]:
    """Return every endpoint by name."""
    answer: list[dict[str, Any]] = client.get("/endpoints")
    return answer


def endpoint(client: Client, name: str) -> dict[str, Any]:
    """Return an endpoint with its route, workers, counts and watermark."""
    answer: dict[str, Any] = client.get(f"/endpoints/{name}")
    return answer


def prediction(client: Client, prediction_id: str) -> dict[str, Any]:
    """Return one recorded prediction."""
    answer: dict[str, Any] = client.get(f"/predictions/{prediction_id}")
    return answer


def prediction_lineage(client: Client, prediction_id: str) -> dict[str, Any]:
    """Return what a prediction was made from, back to raw files."""
    answer: dict[str, Any] = client.get(f"/predictions/{prediction_id}/lineage")
    return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """The answer to one row.

    Attributes:
        prediction_id: Under which the prediction is recorded and labels may refer to it.
        request_id: Id of the request.
        prediction: The score.
        version: The model version that gave it.
        arm: The arm of the route.
        generation: The generation of the route.
    """

    prediction_id: str
    request_id: str
    prediction: float
    version: str
    arm: str
    generation: int


class Predictor:
    """A connection to the inference workers for one endpoint, kept open; safe to share between threads.

    Args:
        url: Address of the workers, such as http://127.0.0.1:8201.
        endpoint: The endpoint's name.
        token: API token that may request predictions.
    """

    def __init__(self, url: str, endpoint: str, token: str) -> None:
        self._path = f"/v2/models/{endpoint}/infer"
        self._http = httpx.Client(
            base_url=url.rstrip("/"), headers={"authorization": f"Bearer {token}"}, timeout=_SECONDS_MAX, trust_env=False
        )

    def predict(
        self, rows: Sequence[Mapping[str, float | str | None]], *, entity: str = "", request_id: str = "", event_time: int | None = None
    ) -> list[Predicted]:
        """Return the answers of rows, in order.

        Args:
            rows: Features by name; None where a value is missing.
            entity: Keeps its arm over requests.
            request_id: Chosen by the caller; empty lets the worker choose.
            event_time: UTC microseconds of the event; needs the permission to replay.

        Raises:
            GatelineError: the class that fits the worker's answer.
            Unavailable: the workers cannot be reached.
        """
        headers = {
            "x-gateline-entity": entity,
            "x-request-id": request_id,
            "x-gateline-event-time": "" if event_time is None else iso(event_time),
        }
        try:
            answer = self._http.post(
                self._path, json={"inputs": _inputs(rows)}, headers={key: text for key, text in headers.items() if text}
            )
        except httpx.HTTPError as error:
            raise Unavailable(f"The inference workers at {self._http.base_url} do not answer: {error}.", next_step="gateline up") from error
        content = answer.json()
        if answer.status_code != 200:
            raise _error(answer.status_code)(str(content.get("error", answer.text)))
        values, ids = (output["data"] for output in content["outputs"])
        parameters = content["parameters"]
        return [
            Predicted(
                prediction_id=prediction_id, request_id=content["id"], prediction=value, version=content["model_version"],
                arm=parameters["arm"], generation=parameters["generation"],
            )
            for prediction_id, value in zip(ids, values, strict=True)
        ]  # fmt: skip

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _inputs(rows: Sequence[Mapping[str, float | str | None]]) -> list[dict[str, Any]]:
    """Return rows as Open Inference Protocol inputs, one per feature; a feature is text when any of its values is."""
    found = []
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        kind = "BYTES" if any(isinstance(value, str) for value in values) else "FP64"
        found.append({"name": name, "shape": [len(rows), 1], "datatype": kind, "data": values})
    return found


def _error(status: int) -> type[GatelineError]:
    """Return the first class of the tree with this status."""
    return next((kind for kind in all_errors() if kind.status == status), GatelineError)
