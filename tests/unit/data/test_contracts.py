"""Contracts from draft to refusal, on both databases."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateline.access import Access, Principal, PrincipalKind, Role
from gateline.data import Contracts, Datasets, ObjectStore, Tables
from gateline.data.contracts.gate import require_contract
from gateline.data.contracts.store import APPEND_ONLY_TABLES
from gateline.kernel.errors import Conflict, ContractBroken, Denied, InvalidInput, NotFound
from gateline.lineage import Lineage
from tests.support.contracts import column, contract_of

PEOPLE = b"name,age,seen\n" + b"".join(b"p%d,%d,2013-01-01T00:00:00Z\n" % (row, 20 + row % 10) for row in range(200))
PROVENANCE = {"source": "made for the test", "licence": "CC0-1.0"}


def person(name: str, *roles: Role) -> Principal:
    return Principal(name=name, kind=PrincipalKind.PERSON, roles=frozenset(roles or {Role.VALIDATOR}))


@pytest.fixture
def objects(home):
    return ObjectStore(home / "objects")


@pytest.fixture
def datasets(ledger, objects, home):
    return Datasets(ledger, objects, Lineage(ledger.records), Tables(str(home / "tables"), cache=home / "cache"))


@pytest.fixture
def contracts(ledger, datasets, home):
    return Contracts(ledger, Access(ledger, home), datasets)


@pytest.fixture
def register(datasets, objects):
    def run(content: bytes):
        return datasets.register("developer", "people", file=objects.put_bytes(content).sha256, format="csv", **PROVENANCE)

    return run


def people(**table):
    columns = [column("name", "string", unique=True), column("age", min=0, max=120), column("seen", "datetime")]
    return contract_of(*columns, **table)


@pytest.fixture
def in_force(contracts):
    contracts.propose("developer", people())
    return contracts.accept(person("validator"), "people", 1, "read and agreed")


def test_a_contract_is_inferred_reviewed_by_another_and_then_in_force(contracts, register, ledger):
    version = register(PEOPLE)
    draft = contracts.infer("developer", "people")
    assert (draft.id, draft.state, draft.origin, draft.review) == ("people/contract@1", "draft", "inferred", None)
    assert (draft.evidence["dataset_version"], draft.evidence["digest"]) == ("people@1", version.digest)
    assert contracts.in_force("people") is None
    with pytest.raises(NotFound, match="no contract in force for dataset 'people'"):
        contracts.get("people")
    assert contracts.infer("somebody-else", "people") == draft  # the same draft, still of its first author

    accepted = contracts.accept(person("validator"), "people", 1, "read and agreed")
    assert (accepted.state, accepted.review.reviewer, accepted.review.comment) == ("in_force", "validator", "read and agreed")
    assert contracts.get("people") == contracts.in_force("people") == contracts.get("people", 1) == accepted
    assert contracts.check("people") == ()
    entries = [(one.kind, one.subject, one.actor) for one in ledger.entries() if one.kind.startswith("dataset.contract")]
    assert entries == [
        ("dataset.contract.proposed", "people/contract@1", "developer"),
        ("dataset.contract.accepted", "people/contract@1", "validator"),
    ]


@pytest.mark.parametrize(
    ("reviewer", "words"),
    [
        (person("developer", Role.VALIDATOR), "who inferred or wrote a contract may not review it"),
        (person("admin", Role.VALIDATOR, Role.ADMIN), "could grant themselves the role"),
        (Principal(name="robot", kind=PrincipalKind.SERVICE, roles=frozenset({Role.VALIDATOR})), "a service can never review"),
        (person("engineer", Role.DEVELOPER), "no role of engineer"),
    ],
)
def test_nobody_lets_a_contract_of_their_own_take_effect(contracts, ledger, reviewer, words):
    contracts.propose("developer", people())
    for act in (contracts.accept, contracts.reject):
        with pytest.raises(Denied, match=words):
            act(reviewer, "people", 1, "fine")
    assert contracts.get("people", 1).state == "draft"
    refused = ledger.entries(kind="dataset.contract.review_refused")
    assert [(one.actor, one.payload["code"], one.payload["accepted"]) for one in refused] == [
        (reviewer.name, "denied", True), (reviewer.name, "denied", False),
    ]  # fmt: skip


def test_a_version_that_breaks_the_contract_is_refused_and_only_its_raw_file_stays(in_force, register, datasets, ledger, objects, home):
    size = ledger.size()
    bad = b"name,age,seen,extra\nAnn,-1,2013-01-01T00:00:00Z,1\nAnn,130,2013-01-01T00:00:00Z,1\n"
    with pytest.raises(ContractBroken) as error:
        register(bad)
    for words in ("breaks people/contract@1 3 times", "'extra' is not in the contract", "repeated", "outside 0 to 120, first in rows 1, 2"):
        assert words in error.value.message
    assert error.value.next_step.endswith("gateline contract show people/contract@1 --toml.")
    found = [(one["rule"], one["columns"], one["count"], one["rows"]) for one in error.value.facts["violations"]]
    assert found == [("column_extra", ["extra"], 1, []), ("unique", ["name"], 1, [2]), ("range", ["age"], 2, [1, 2])]
    assert datasets.list() == []
    assert ledger.size() == size
    stored = [path for path in (home / "objects").rglob("*") if path.is_file()]
    assert stored == [objects.path(objects.put_bytes(bad).sha256)]

    register(PEOPLE)
    (entry,) = ledger.entries(kind="dataset.version.registered")
    assert entry.payload["contract"] == in_force.id


def test_what_was_registered_before_the_contract_is_still_found_and_can_be_checked(contracts, register):
    version = register(b"name,age,seen\nAnn,-1,2013-01-01T00:00:00Z\n")
    contracts.propose("developer", people())
    contracts.accept(person("validator"), "people", 1, "agreed")
    assert register(b"name,age,seen\nAnn,-1,2013-01-01T00:00:00Z\n") == version
    (found,) = contracts.check("people", 1, 1)
    assert (found.rule, found.columns, found.rows) == ("range", ("age",), (1,))


def test_an_incompatible_successor_is_refused_with_what_breaks_whom(contracts, in_force, ledger):
    narrower = people()
    narrower = replace(narrower, columns=(narrower.columns[0], replace(narrower.columns[1], max=99), *narrower.columns[2:]))
    size = ledger.size()
    with pytest.raises(Conflict) as error:
        contracts.propose("developer", narrower)
    assert "is not backward compatible with people/contract@1: breaks suppliers of data: column 'age': values up to 120" in str(error.value)
    assert [one["column"] for one in error.value.facts["breaks"]] == ["age"]
    assert ledger.size() == size

    # The way out is reviewed twice: first the rule alone changes, then what it guarded.
    free = contracts.propose("developer", people(compatibility="none"))
    contracts.accept(person("validator"), "people", free.version, "we have to narrow the range")
    third = contracts.propose("developer", narrower)
    contracts.accept(person("validator"), "people", third.version, "narrow it")
    assert [(one.version, one.state) for one in contracts.list("people")] == [(1, "superseded"), (2, "superseded"), (3, "in_force")]
    assert contracts.list() == contracts.list("people")


def test_a_draft_that_became_incompatible_or_old_cannot_take_effect(contracts, in_force, register, ledger):
    second = contracts.propose("developer", people(extra_columns=True))
    third = contracts.propose("developer", people(description="more words"))
    contracts.accept(person("validator"), "people", third.version, "yes")
    with pytest.raises(Conflict, match="contract@3, which is newer than people/contract@2, is in force"):
        contracts.accept(person("validator"), "people", second.version, "yes")
    with pytest.raises(Conflict, match="is in_force and no draft"):
        contracts.accept(person("validator"), "people", third.version, "again")
    assert contracts.propose("developer", people(extra_columns=True)).version == 4
    assert contracts.propose("developer", people(description="more words")).version == 3
    contracts.accept(person("validator"), "people", 4, "yes")
    register(PEOPLE)
    draft = contracts.infer("developer", "people")  # narrower than what is in force, and kept as evidence
    assert draft.contract.extra_columns
    assert {one.column for one in contracts.breaks("people", draft.version)} == {"age", "seen"}
    with pytest.raises(Conflict, match="not backward compatible"):
        contracts.accept(person("validator"), "people", draft.version, "yes")
    assert len(ledger.entries(kind="dataset.contract.review_refused")) == 3


def test_a_rejected_draft_stays_rejected_and_never_takes_effect(contracts, register):
    contracts.propose("developer", people())
    assert contracts.reject(person("validator"), "people", 1, "ages are missing").state == "rejected"
    with pytest.raises(Conflict, match="is rejected and no draft"):
        contracts.accept(person("other-validator"), "people", 1, "but")
    assert contracts.in_force("people") is None
    assert contracts.propose("developer", people()).version == 2
    register(b"anything\n1\n")


def test_wrong_calls_are_refused_with_one_clear_error(contracts):
    with pytest.raises(InvalidInput, match="it names 0 columns"):
        contracts.propose("developer", contract_of(column("a")).__class__(dataset="people", columns=()))
    contracts.propose("developer", people())
    for comment in ("", "  ", "x" * 10_001):
        with pytest.raises(InvalidInput, match="A review needs a comment"):
            contracts.accept(person("validator"), "people", 1, comment)
    with pytest.raises(NotFound, match="no contract 'people/contract@7'"):
        contracts.accept(person("validator"), "people", 7, "yes")
    with pytest.raises(NotFound, match="no dataset version 'people'"):
        contracts.infer("developer", "people")


def test_freshness_and_number_of_rows_are_judged_at_registration(contracts, register, clock):
    fresh = {"column": "seen", "age_seconds_max": 3600}
    contracts.propose("developer", people(freshness=fresh, row_count_change={"shrink_share_max": 0.5}))
    contracts.accept(person("validator"), "people", 1, "agreed")
    register(PEOPLE)
    short = b"\n".join(PEOPLE.split(b"\n")[:50]) + b"\n"
    with pytest.raises(ContractBroken, match="the version before has 200 rows and this one 49"):
        register(short)
    clock.advance(seconds=3601)
    with pytest.raises(ContractBroken, match="is 3,601 seconds old") as error:
        register(short)
    assert [one["rule"] for one in error.value.facts["violations"]] == ["freshness", "row_count"]
    assert register(PEOPLE).id == "people@1"  # what is registered stays registered
    assert contracts.check("people") == ()  # judged as of its registration


def test_a_contract_that_takes_effect_between_check_and_commit_is_noticed(contracts, in_force, ledger, register):
    import polars as pl

    good = pl.DataFrame({"name": ["a"], "age": [1], "seen": pl.Series(["2013-01-01T00:00:00Z"]).str.to_datetime(time_zone="UTC")})
    passed = require_contract(ledger, "people", good)
    with ledger.transaction("developer") as tx:
        assert passed.confirm(tx) == in_force.id
    contracts.propose("developer", people(row_count_change=None, extra_columns=True))
    contracts.accept(person("validator"), "people", 2, "agreed")
    with ledger.transaction("developer") as tx, pytest.raises(Conflict, match="Another contract of 'people' took effect"):
        passed.confirm(tx)
    unbound = require_contract(ledger, "visitors", good)
    with ledger.transaction("developer") as tx:
        assert unbound.confirm(tx) == ""


def test_a_version_registered_between_check_and_commit_counts_as_the_one_before(contracts, ledger, register):
    import polars as pl

    contracts.propose("developer", people(row_count_change={"shrink_share_max": 0.5}))
    contracts.accept(person("validator"), "people", 1, "agreed")
    one = pl.DataFrame({"name": ["a"], "age": [1], "seen": pl.Series(["2013-01-01T00:00:00Z"]).str.to_datetime(time_zone="UTC")})
    passed = require_contract(ledger, "people", one)
    register(PEOPLE)
    with ledger.transaction("developer") as tx, pytest.raises(ContractBroken, match="has 200 rows and this one 1"):
        passed.confirm(tx)


def test_of_two_reviewers_at_once_one_decides(contracts):
    contracts.propose("developer", people())
    outcomes: list[str] = []
    barrier = threading.Barrier(2)

    def review(act, name):
        barrier.wait()
        try:
            act(person(name), "people", 1, "at once")
            outcomes.append(name)
        except Conflict:
            outcomes.append("refused")

    threads = [threading.Thread(target=review, args=pair) for pair in ((contracts.accept, "one"), (contracts.reject, "two"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) in (["one", "refused"], ["refused", "two"])
    assert contracts.get("people", 1).review.reviewer in outcomes


@pytest.mark.parametrize("table", APPEND_ONLY_TABLES)
def test_the_database_refuses_to_change_contracts_and_reviews(in_force, ledger, table):
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET {'comment' if 'review' in table else 'origin'} = 'x'"):
        with pytest.raises(DBAPIError, match="append-only"), ledger.records.engine.begin() as connection:
            connection.execute(text(statement))
