"""A client without a URL works on the folder: in this process, or through the server that holds it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

import gateline
from gateline.access import OWNER
from gateline.kernel.errors import ConfigurationError, Denied, Unauthenticated, Unavailable
from gateline.local import ServerLock, opening
from gateline.sdk.client import Client


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GATELINE_URL", "GATELINE_TOKEN", "GATELINE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GATELINE_MLFLOW", "false")


def test_a_client_needs_nothing_but_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with gateline.Client() as client:
        assert client.in_process
        assert client.get("/principals/me")["name"] == OWNER
        digest = client.upload(b"content")
        assert client.download(digest, tmp_path / "copy").read_bytes() == b"content"
    assert (tmp_path / ".gateline" / "records.db").exists()


def test_the_folder_may_have_a_space_and_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATELINE_HOME", str(tmp_path / "my home"))
    with Client() as client:
        assert client.get("/status")["home"] == str(tmp_path / "my home")


def test_what_one_client_wrote_the_next_one_reads(home: Path) -> None:
    with Client(home=home) as first:
        first.post("/principals", json={"name": "newcomer", "roles": ["viewer"]})
        token = first.post("/tokens", json={"principal": "newcomer"})["token"]
    with Client(home=home, token=token) as second:
        assert second.get("/principals/me")["name"] == "newcomer"
        with pytest.raises(Denied, match="no role of newcomer"):
            second.get("/principals")
    with Client(home=home, token="gl_wrong") as third, pytest.raises(Unauthenticated):
        third.get("/status")


def test_two_clients_of_one_folder_may_be_open_at_once(home: Path) -> None:
    with Client(home=home) as one, Client(home=home) as other:
        one.post("/principals", json={"name": "one", "roles": ["viewer"]})
        other.post("/principals", json={"name": "other", "roles": ["viewer"]})
        assert [entry["name"] for entry in one.get("/principals")] == ["one", "other", OWNER]


def test_other_libraries_reach_the_same_application_at_an_address(home: Path) -> None:
    with Client(home=home) as client:
        address = client.address()
        assert client.address() == address
        answer = httpx.get(f"{address}/api/v1/principals/me", headers={"authorization": f"Bearer {client.token}"}, trust_env=False)
        assert answer.json()["name"] == OWNER
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health", trust_env=False)


def test_a_server_that_holds_the_folder_is_used_in_place_of_this_process(home: Path) -> None:
    with Client(home=home) as local:
        token = local.token
    with ServerLock(home) as lock:
        lock.announce("http://127.0.0.1:9")
        with Client(home=home) as client:
            assert not client.in_process
            assert (client.url, client.token, client.address()) == ("http://127.0.0.1:9", token, "http://127.0.0.1:9")


def test_a_server_that_never_says_where_it_is_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[float] = []
    monkeypatch.setattr(opening.time, "sleep", passed.append)
    monkeypatch.setattr(opening.time, "monotonic", lambda: 10.0 * len(passed))
    with ServerLock(home), pytest.raises(Unavailable, match="does not say where it listens"):
        Client(home=home)


def test_credentials_that_cannot_be_read_are_named(home: Path) -> None:
    (home / "credentials.json").write_text("{")
    with ServerLock(home) as lock:
        lock.announce("http://127.0.0.1:9")
        with pytest.raises(ConfigurationError, match=r"credentials\.json"):
            Client(home=home)
