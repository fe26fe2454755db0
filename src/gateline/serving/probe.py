"""Measuring answer times on a real worker process, with the served form, the token check, the log and HTTP in the way."""

from __future__ import annotations

import http.client
import secrets
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from gateline.access import hash_token, load_token_key
from gateline.kernel.canonical import sha256_bytes
from gateline.kernel.errors import InvalidInput, Unavailable
from gateline.kernel.settings import Settings
from gateline.serving.fleet import Fleet
from gateline.serving.form import LoadedForm
from gateline.serving.model import CHAMPION, MODEL_FILE, SERVING_DOCUMENT, FeatureKind
from gateline.serving.publish import route_path, write_snapshot
from gateline.serving.routing import (
    FORMAT,
    REQUEST_PERMISSION,
    ArmDocument,
    FeatureDocument,
    FormReference,
    GrantDocument,
    RouteDocument,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

_ENDPOINT = "probe"
_WARM_UP_REQUESTS = 20
_ANSWER_SECONDS = 10.0


def probe_latency(form_dir: Path, rows: pl.DataFrame | Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Start a worker that serves the form in a folder, send each row as one request, and return how long each took.

    Requests go one after the other over one kept-alive connection; the first twenty, which warm the process, are sent twice.

    Args:
        form_dir: Holds serving.json and model.txt.
        rows: One request each: the form's features by name; further columns are ignored.

    Returns:
        Milliseconds from sending to the whole answer, one per row, in order.

    Raises:
        InvalidInput: a row lacks a feature of the form, or is refused by the worker.
        IntegrityFailure: the form's files contradict each other, or its model is broken.
        Unavailable: the worker did not start or did not answer.
    """
    form = LoadedForm.load(form_dir)
    features = {one.feature: one.kind for one in form.document.inputs}
    bodies = [_body(features, row) for row in _records(rows)]
    home = Path(tempfile.mkdtemp(prefix="gateline-probe-"))
    try:
        settings = Settings(home=home, host="127.0.0.1", serving_port=0, workers=1)
        token = secrets.token_urlsafe(32)
        _publish(settings, form_dir, features, hash_token(load_token_key(settings.keys_path), token))
        fleet = Fleet(settings)
        fleet.start()
        try:
            fleet.wait_loaded(_ENDPOINT, 1)
            return _measure(fleet.port, token, bodies)
        finally:
            fleet.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _records(rows: pl.DataFrame | Sequence[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """Return rows as mappings."""
    return rows.iter_rows(named=True) if isinstance(rows, pl.DataFrame) else rows


def _publish(settings: Settings, form_dir: Path, features: Mapping[str, FeatureKind], token_hash: str) -> None:
    """Write the routing snapshot of an endpoint that serves this form alone."""
    files = {name: sha256_bytes((form_dir / name).read_bytes()) for name in (SERVING_DOCUMENT, MODEL_FILE)}
    arm = ArmDocument(name=CHAMPION, version="probe@1", weight=1.0, form=FormReference(directory=str(form_dir.absolute()), files=files))
    document = RouteDocument(
        format=FORMAT, endpoint=_ENDPOINT, model=_ENDPOINT, generation=1, salt=_ENDPOINT,
        features=tuple(FeatureDocument(name=name, kind=kind) for name, kind in features.items()), arms=(arm,), shadow=(),
        tokens=(GrantDocument(hash=token_hash, principal=_ENDPOINT, permissions=(REQUEST_PERMISSION,)),),
    )  # fmt: skip
    write_snapshot(route_path(settings.serving_path, _ENDPOINT), document)


def _body(features: Mapping[str, FeatureKind], row: Mapping[str, Any]) -> bytes:
    """Return the request of one row."""
    missing = sorted(set(features) - set(row))
    if missing:
        raise InvalidInput(f"A row for the latency probe lacks the features {', '.join(missing)}.")
    inputs = [
        {"name": name, "shape": [1, 1], "datatype": "FP64" if kind is FeatureKind.NUMERIC else "BYTES", "data": [_plain(kind, row[name])]}
        for name, kind in features.items()
    ]
    return msgspec.json.encode({"inputs": inputs})


def _plain(kind: FeatureKind, value: Any) -> float | str | None:
    if value is None:
        return None
    return str(value) if kind is FeatureKind.CATEGORICAL else float(value)


def _measure(port: int, token: str, bodies: Sequence[bytes]) -> NDArray[np.float64]:
    """Send the bodies one after the other and time each."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    times = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)) as connection:
        for body in (*bodies[:_WARM_UP_REQUESTS], *bodies):
            start = perf_counter_ns()
            try:
                connection.request("POST", f"/v2/models/{_ENDPOINT}/infer", body, headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise Unavailable(f"The worker of the latency probe did not answer: {error}.") from error
            times.append((perf_counter_ns() - start) / 1e6)
            if answer.status != 200:
                kind = InvalidInput if answer.status < 500 else Unavailable
                raise kind(f"The worker refused a request of the latency probe with {answer.status}: {content[:300].decode()}")
    return np.asarray(times[min(len(bodies), _WARM_UP_REQUESTS) :], dtype=np.float64)
