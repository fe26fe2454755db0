"""The ledger as its callers may rely on it."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateline.kernel.errors import ConfigurationError, Conflict, NotFound
from gateline.ledger import CHECKPOINT_TYPE, Ledger, Outbox, PublicKey, SigningKey, verify_records
from gateline.ledger.merkle import verify_inclusion
from gateline.ledger.store import APPEND_ONLY_TABLES

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from gateline.kernel.clock import SimulatedClock


def write(ledger: Ledger, count: int) -> None:
    """Write some entries, one transaction each."""
    for number in range(count):
        with ledger.transaction("tester") as tx:
            tx.record("thing.changed", f"thing-{number}", {"number": number})


def test_entries_are_numbered_without_gaps_and_the_ledger_is_sound(ledger: Ledger) -> None:
    """On both databases."""
    write(ledger, 9)
    ledger.checkpoint()
    assert [entry.seq for entry in ledger.entries()] == list(range(9))
    found = ledger.verify()
    assert found.sound
    assert (found.entries, found.checkpoints) == (9, 1)


def test_a_change_that_fails_leaves_no_entry_and_no_event(ledger: Ledger, clock: SimulatedClock) -> None:
    """The entry, the event and the change commit together or not at all."""

    def fail() -> None:
        with ledger.transaction("tester") as tx:
            tx.record("thing.changed", "thing")
            tx.publish("thing.changed", {})
            raise Conflict("No.")

    with pytest.raises(Conflict):
        fail()
    assert ledger.size() == 0
    assert Outbox(ledger.records, clock, {}).deliver() == 0


def test_two_writers_never_share_a_position(ledger: Ledger) -> None:
    """Threads that write at once get consecutive positions and one sound tree."""
    threads = [threading.Thread(target=write, args=(ledger, 8)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.size() == 32
    assert ledger.verify().sound


def test_a_clock_that_jumps_back_changes_no_order(ledger: Ledger, clock: SimulatedClock) -> None:
    """Positions give the order; times are only noted."""
    write(ledger, 1)
    clock.advance(seconds=-3600)
    write(ledger, 1)
    first, second = ledger.entries()
    assert second.time < first.time
    assert ledger.verify().sound


@pytest.mark.parametrize("table", APPEND_ONLY_TABLES)
@pytest.mark.parametrize("statement", ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}"])
def test_the_database_refuses_to_change_what_was_written(ledger: Ledger, table: str, statement: str) -> None:
    """Triggers guard the ledger even against someone with database access and no care."""
    write(ledger, 2)
    ledger.checkpoint()
    column = {"ledger_entry": "actor", "ledger_node": "hash", "ledger_checkpoint": "root"}[table]
    with pytest.raises(DBAPIError, match="append-only"), ledger.records.engine.begin() as connection:
        connection.execute(text(statement.format(table=table, column=column)))


def damaged(ledger: Ledger, home: Path, *statements: str) -> Any:
    """Return what verification finds after statements that first drop the guards, as an attacker with the file could."""
    connection = sqlite3.connect(home / "only.db")
    for table in APPEND_ONLY_TABLES:
        for verb in ("update", "delete"):
            connection.execute(f"DROP TRIGGER {table}_no_{verb}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return verify_records(ledger.records, ledger.key.public, CHECKPOINT_TYPE)


@pytest.mark.parametrize("column", ["payload", "actor", "kind", "subject", "time"])
def test_a_changed_entry_is_named(sqlite_ledger: Ledger, home: Path, column: str) -> None:
    """Every field is under the hash."""
    write(sqlite_ledger, 7)
    value = {"payload": "'{\"number\":99}'", "time": "time + 1"}.get(column, "'forged'")
    found = damaged(sqlite_ledger, home, f"UPDATE ledger_entry SET {column} = {value} WHERE seq = 3")
    assert [problem.seq for problem in found.problems] == [3]
    assert "Entry 3 was changed" in found.problems[0].detail


def test_an_entry_changed_together_with_its_hashes_contradicts_the_signed_checkpoint(sqlite_ledger: Ledger, home: Path) -> None:
    """Rewriting the stored tree does not help without the key."""
    write(sqlite_ledger, 4)
    sqlite_ledger.checkpoint()
    forged = Ledger(sqlite_ledger.records, sqlite_ledger.clock, sqlite_ledger.key)
    entry = forged.entries()[2]
    leaf = type(entry)(seq=2, time=entry.time, kind=entry.kind, actor="forged", subject=entry.subject, payload=entry.payload).leaf()
    found = damaged(
        sqlite_ledger,
        home,
        "UPDATE ledger_entry SET actor = 'forged' WHERE seq = 2",
        f"UPDATE ledger_node SET hash = x'{leaf.hex()}' WHERE level = 0 AND \"index\" = 2",
    )
    assert any("differ from the signed checkpoint over 4 entries" in problem.detail for problem in found.problems)


def test_removed_entries_are_noticed(sqlite_ledger: Ledger, home: Path) -> None:
    """At the end by the checkpoint, in the middle by the gap."""
    write(sqlite_ledger, 6)
    sqlite_ledger.checkpoint()
    found = damaged(sqlite_ledger, home, "DELETE FROM ledger_entry WHERE seq = 5")
    assert any("only 5 are left" in problem.detail for problem in found.problems)
    write_gap = verify_records(sqlite_ledger.records, sqlite_ledger.key.public, CHECKPOINT_TYPE)
    assert not write_gap.sound


def test_a_checkpoint_signed_by_another_key_is_not_believed(ledger: Ledger, tmp_path: Path) -> None:
    """Verification needs the installation's own public key."""
    write(ledger, 2)
    ledger.checkpoint()
    stranger = SigningKey.load_or_create(tmp_path / "stranger")
    found = verify_records(ledger.records, stranger.public, CHECKPOINT_TYPE)
    assert "is not signed by key" in found.problems[0].detail


def test_a_proof_convinces_without_the_database(ledger: Ledger) -> None:
    """Leaf, path and root suffice."""
    write(ledger, 5)
    proof = ledger.prove(3)
    path = [bytes.fromhex(one) for one in proof["proof"]]
    assert verify_inclusion(bytes.fromhex(proof["leaf"]), 3, proof["size"], path, bytes.fromhex(proof["root"]))
    with pytest.raises(NotFound):
        ledger.prove(5)


def test_a_second_checkpoint_of_the_same_entries_is_the_first(ledger: Ledger) -> None:
    """Nothing is signed twice."""
    write(ledger, 1)
    assert ledger.checkpoint() == ledger.checkpoint()


def test_an_envelope_opens_only_for_its_key_its_type_and_its_bytes(home: Path, tmp_path: Path) -> None:
    """DSSE binds the type too."""
    key = SigningKey.load_or_create(home / "keys")
    envelope = key.sign("kind/a", {"value": 1})
    public = PublicKey.load(home / "keys" / "ledger.pub")
    assert public.open(envelope, "kind/a") == {"value": 1}
    assert public.open(envelope, "kind/b") is None
    assert public.open(envelope | {"payload": "eyJ2YWx1ZSI6Mn0="}, "kind/a") is None
    assert SigningKey.load_or_create(tmp_path / "other").public.open(envelope, "kind/a") is None


def test_a_signing_key_that_others_may_read_is_refused(home: Path) -> None:
    """The message says how to mend it."""
    SigningKey.load_or_create(home / "keys")
    (home / "keys" / "ledger.key").chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        SigningKey.load_or_create(home / "keys")


def test_a_failing_handler_holds_back_its_own_kind_and_no_other(ledger: Ledger, clock: SimulatedClock) -> None:
    """Order is kept within a kind; the failed event is tried again and then delivered."""
    for number in range(3):
        with ledger.transaction("tester") as tx:
            tx.publish("number", {"number": number})
            tx.publish("other", {"number": number})
    seen: list[int] = []
    others: list[int] = []
    broken = True

    def handle(payload: dict[str, Any]) -> None:
        if broken and payload["number"] == 1:
            raise Conflict("Not yet.")
        seen.append(payload["number"])

    outbox = Outbox(ledger.records, clock, {"number": [handle], "other": [lambda payload: others.append(payload["number"])]})
    assert outbox.deliver() == 4
    assert (seen, others) == ([0], [0, 1, 2])
    broken = False
    assert outbox.deliver() == 2
    assert outbox.deliver() == 0
    assert seen == [0, 1, 2]
