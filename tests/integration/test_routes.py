"""The server as a whole: permissions of every route, and the routes of access, files, ledger and system."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from gateline.access import Access, Permission, Role
from gateline.access.model import SERVICE_ROLES
from gateline.app import App, build
from gateline.kernel.settings import Settings
from gateline.sdk.transport import InProcessTransport
from gateline.server.asgi import create_app
from gateline.server.security import ANONYMOUS, PERMISSION

METHODS = {"get", "put", "post", "delete", "patch"}
DIGEST = hashlib.sha256(b"content").hexdigest()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    application = build(Settings(home=tmp_path_factory.mktemp("home"), mlflow=False, log_level="error"))
    yield application
    application.stop()


@pytest.fixture(scope="module")
def asgi(app: App) -> FastAPI:
    return create_app(app)


@pytest.fixture(scope="module")
def transport(asgi: FastAPI) -> Iterator[InProcessTransport]:
    shared = InProcessTransport(asgi)
    yield shared
    shared.close()


class Caller(httpx.Client):
    """A client whose closing leaves the shared transport open."""

    def __init__(self, transport: InProcessTransport, token: str = "") -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        super().__init__(transport=transport, base_url="http://test", headers=headers)


@pytest.fixture(scope="module")
def callers(app: App, transport: InProcessTransport) -> dict[Role, Caller]:
    """One caller of each role."""
    found = {}
    for role in Role:
        app.access.create_principal("owner", f"the-{role}".replace("_", "-"), [role], "service" if role in SERVICE_ROLES else "person")
        found[role] = Caller(transport, app.access.create_token("owner", f"the-{role}".replace("_", "-")))
    return found


@pytest.fixture
def anyone(transport: InProcessTransport) -> Caller:
    return Caller(transport)


@pytest.fixture
def admin(callers: dict[Role, Caller]) -> Caller:
    return callers[Role.ADMIN]


def operations(asgi: FastAPI) -> list[tuple[str, str, Permission]]:
    """Every guarded operation of the API with its permission."""
    return [
        (method.upper(), path, Permission(operation[PERMISSION]))
        for path, methods in asgi.openapi()["paths"].items()
        for method, operation in methods.items()
        if method in METHODS and PERMISSION in operation
    ]


def concrete(path: str) -> str:
    """A path with values in place of its parameters; integers fit everywhere."""
    return re.sub(r"\{[^}]*\}", "1", path)


def test_every_operation_turns_away_who_has_no_token(asgi: FastAPI, anyone: Caller) -> None:
    checked = operations(asgi)
    assert len(checked) > 10
    for method, path, _ in checked:
        answer = anyone.request(method, concrete(path), json={} if method in {"POST", "PATCH"} else None)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), f"{method} {path}"


def test_every_operation_turns_away_roles_that_do_not_carry_its_permission(asgi: FastAPI, app: App, callers: dict[Role, Caller]) -> None:
    for method, path, needed in operations(asgi):
        carriers = set(app.access.policies.carriers(needed))
        outsider = next((role for role in Role if role not in carriers), None)
        if outsider is None:  # every role carries it; who has none is still turned away
            assert needed is Permission.ENDPOINT_READ
            assert not app.access.admits(ANONYMOUS, needed).allowed
            continue
        answer = callers[outsider].request(method, concrete(path), json={} if method in {"POST", "PATCH"} else None)
        assert (answer.status_code, answer.json()["code"]) == (403, "denied"), f"{method} {path} as {outsider}"
        assert f"may not {needed}" in answer.json()["detail"]


def test_every_operation_lets_its_roles_through_the_door(asgi: FastAPI, app: App, callers: dict[Role, Caller]) -> None:
    for method, path, needed in operations(asgi):
        if path.endswith(("/openapi.json", "/checkpoint")):
            continue
        carrier = Role(app.access.policies.carriers(needed)[0])
        answer = callers[carrier].request(method, concrete(path), json={"unknown": True} if method in {"POST", "PATCH"} else None)
        assert answer.status_code not in {401, 500}, f"{method} {path} as {carrier}: {answer.text}"


def test_each_operation_has_a_name_of_its_own_and_problem_documents(asgi: FastAPI) -> None:
    found = [operation for methods in asgi.openapi()["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in found]
    assert len(set(names)) == len(names)
    assert all("application/problem+json" in operation["responses"]["4XX"]["content"] for operation in found)
    assert all("422" not in operation["responses"] for operation in found)
    assert asgi.openapi()["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}


def test_anybody_may_learn_that_the_server_answers_and_how_to_talk_to_it(anyone: Caller) -> None:
    for path in ("/health", "/api/v1/health"):
        assert anyone.get(path).json() == {"status": "ok", "version": "0.1.0", "mlflow": "off"}
    assert anyone.get("/api/v1/openapi.json").json()["info"]["title"] == "Gateline"


def test_the_front_page_needs_no_script_and_allows_none(anyone: Caller) -> None:
    answer = anyone.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>Gateline</h1>" in answer.text
    assert "<script" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_status_says_where_the_records_are(callers: dict[Role, Caller], app: App) -> None:
    found = callers[Role.VIEWER].get("/api/v1/status").json()
    assert found["records"] == "sqlite"
    assert found["home"] == str(app.settings.home)
    assert found["ledger_entries"] == app.ledger.size()


def test_a_principal_and_a_token_are_made_used_and_revoked(admin: Caller, transport: InProcessTransport, app: App) -> None:
    body = {"name": "newcomer", "roles": ["developer", "viewer"]}
    created = admin.post("/api/v1/principals", json=body)
    assert (created.status_code, created.json()) == (201, {"name": "newcomer", "kind": "person", "roles": ["developer", "viewer"]})
    assert created.json() in admin.get("/api/v1/principals").json()
    token = admin.post("/api/v1/tokens", json={"principal": "newcomer", "expires_at": "2999-01-01T00:00:00Z"}).json()
    assert token["expires_at"] == "2999-01-01T00:00:00.000000Z"
    newcomer = Caller(transport, token["token"])
    me = newcomer.get("/api/v1/principals/me").json()
    assert me["name"] == "newcomer"
    assert "dataset:write" in me["permissions"]
    assert "model:approve" not in me["permissions"]
    listed = admin.get("/api/v1/tokens", params={"principal": "newcomer"}).json()
    assert [one["id"] for one in listed] == [token["id"]]
    assert token["token"] not in json.dumps(listed)
    assert admin.post(f"/api/v1/tokens/{token['id']}/revoke").json()["revoked_at"]
    assert newcomer.get("/api/v1/principals/me").status_code == 401
    (entry,) = app.ledger.entries(subject="newcomer")
    assert (entry.kind, entry.actor) == ("access.principal.created", "the-admin")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"name": "x"}, "body.roles"),
        ({"name": "x", "roles": ["viewer"], "colour": "red"}, "body.colour"),
        ({"name": "x" * 101, "roles": [], "kind": "robot"}, "body.kind"),
        ({"name": "Bad Name", "roles": ["viewer"]}, "Bad Name"),
        ({"name": "x", "roles": ["pilot"]}, "'pilot' is no role"),
        ({"name": "x", "roles": ["viewer"] * 33}, "body.roles"),
    ],
)
def test_a_wrong_principal_is_refused_with_its_mistakes(admin: Caller, body: dict[str, object], says: str) -> None:
    answer = admin.post("/api/v1/principals", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert says in answer.json()["detail"]


@pytest.mark.parametrize("end", ["yesterday", "2999-01-01T00:00:00", "1999-01-01T00:00:00Z"])
def test_a_token_needs_an_end_in_the_future_with_an_offset(admin: Caller, end: str) -> None:
    assert admin.post("/api/v1/tokens", json={"principal": "the-admin", "expires_at": end}).status_code == 400


def test_a_file_comes_back_as_it_was(callers: dict[Role, Caller], app: App) -> None:
    developer = callers[Role.DEVELOPER]
    stored = developer.put("/api/v1/files", content=b"content", headers={"x-gateline-sha256": DIGEST})
    assert (stored.status_code, stored.json()) == (201, {"sha256": DIGEST, "size_bytes": 7})
    answer = callers[Role.VIEWER].get(f"/api/v1/files/{DIGEST}")
    assert (answer.content, answer.headers["content-type"]) == (b"content", "application/octet-stream")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_an_upload_that_arrives_changed_is_refused(callers: dict[Role, Caller]) -> None:
    developer = callers[Role.DEVELOPER]
    answer = developer.put("/api/v1/files", content=b"other", headers={"x-gateline-sha256": DIGEST})
    assert (answer.status_code, answer.json()["code"]) == (422, "integrity_failure")
    assert developer.put("/api/v1/files", content=b"other", headers={"x-gateline-sha256": "short"}).status_code == 400


def test_a_file_that_changed_on_disk_is_not_served(callers: dict[Role, Caller], app: App) -> None:
    stored = callers[Role.DEVELOPER].put("/api/v1/files", content=b"to be damaged").json()
    path = app.objects.path(stored["sha256"])
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    path.write_bytes(b"to be DAMAGED")
    answer = callers[Role.VIEWER].get(f"/api/v1/files/{stored['sha256']}")
    assert (answer.status_code, answer.json()["code"]) == (422, "integrity_failure")


@pytest.mark.parametrize(("name", "status"), [("0" * 64, 404), ("..%2F..%2Frecords.db", 404), ("short", 400), ("A" * 64, 400)])
def test_files_that_are_not_there_are_not_served(callers: dict[Role, Caller], name: str, status: int) -> None:
    assert callers[Role.VIEWER].get(f"/api/v1/files/{name}").status_code == status


def test_an_upload_over_the_limit_leaves_nothing(callers: dict[Role, Caller], app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateline.server.boundary.UPLOAD_BYTES_MAX", 1000)
    developer = callers[Role.DEVELOPER]
    before = sorted(path for path in app.settings.objects_path.rglob("*") if path.is_file())
    assert developer.put("/api/v1/files", content=b"x" * 1001).status_code == 413
    assert developer.put("/api/v1/files", content=(b"x" * 600 for _ in range(2))).status_code == 413
    assert sorted(path for path in app.settings.objects_path.rglob("*") if path.is_file()) == before


def test_the_ledger_is_read_in_pages_proved_and_verified(callers: dict[Role, Caller], app: App) -> None:
    auditor = callers[Role.AUDITOR]
    first = auditor.get("/api/v1/ledger", params={"limit": 2}).json()
    assert [entry["seq"] for entry in first["entries"]] == [0, 1]
    assert first["next"] == 2
    rest = auditor.get("/api/v1/ledger", params={"start": 2, "limit": 1000}).json()
    assert rest["next"] is None
    assert len(rest["entries"]) == rest["size"] - 2
    assert {entry["kind"] for entry in auditor.get("/api/v1/ledger", params={"kind": "access.token.created"}).json()["entries"]} == {
        "access.token.created"
    }
    assert auditor.get("/api/v1/ledger/1/proof").json()["entry"]["seq"] == 1
    assert auditor.get("/api/v1/ledger/999999/proof").status_code == 404
    checkpoint = auditor.get("/api/v1/ledger/checkpoint").json()
    assert checkpoint["size"] == app.ledger.size()
    verified = auditor.post("/api/v1/ledger/verify").json()
    assert verified["sound"]
    assert verified["root"] == checkpoint["root"]


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"start": -1}, {"start": "x"}])
def test_ledger_pages_are_bounded(callers: dict[Role, Caller], query: dict[str, object]) -> None:
    assert callers[Role.AUDITOR].get("/api/v1/ledger", params=query).status_code == 400


def test_decisions_at_the_door_hold_for_access_services_of_any_process(app: App, callers: dict[Role, Caller]) -> None:
    other = Access(app.ledger, app.settings.home)
    assert callers[Role.VIEWER].get("/api/v1/principals").status_code == 403
    assert not other.admits(other.principal("the-viewer"), Permission.ACCESS_ADMIN).allowed


def test_mlflow_that_is_off_says_so(callers: dict[Role, Caller]) -> None:
    answer = callers[Role.DEVELOPER].get("/mlflow/api/2.0/mlflow/experiments/search")
    assert answer.status_code == 503


def test_the_home_folder_keeps_secrets_to_its_owner(app: App) -> None:
    app.access.ensure_owner()
    for name in ("credentials.json", "keys/token.key", "keys/ledger.key"):
        assert stat.S_IMODE(Path(app.settings.home / name).stat().st_mode) == 0o600
