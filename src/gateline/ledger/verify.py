"""Verification of a whole ledger from its rows and a public key; it trusts no stored hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from gateline.ledger import store
from gateline.ledger.merkle import new_nodes, root
from gateline.ledger.model import ORIGIN, Problem, Verification

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from gateline.kernel.records import Records
    from gateline.ledger.signing import PublicKey

_PROBLEMS_MAX = 100


def verify_records(records: Records, key: PublicKey, checkpoint_type: str) -> Verification:
    """Recompute every leaf, node, root and signature of a ledger.

    A changed entry is named by its position: its recomputed leaf differs from the stored one. When someone also rewrote the stored
    hashes, the first signed checkpoint whose root no longer matches is named.
    """
    with records.read() as session:
        tree: dict[tuple[int, int], bytes] = {}
        problems = list(_check_entries(session, tree))
        size = sum(1 for level, _ in tree if level == 0)
        problems += _check_nodes(session, tree)
        signed = store.checkpoints(session)
        for checkpoint in signed:
            problems += _check_checkpoint(checkpoint.as_dict(), key, checkpoint_type, tree, size)

        return Verification(
            entries=size,
            checkpoints=len(signed),
            root=root(size, lambda level, index: tree[level, index]).hex(),
            problems=tuple(problems[:_PROBLEMS_MAX]),
        )


def _check_entries(session: Session, tree: dict[tuple[int, int], bytes]) -> Iterator[Problem]:
    """Rebuild the tree from the entries alone, naming gaps and rows that do not read."""
    expected = 0
    try:
        for entry in store.entries(session):
            if entry.seq != expected:
                yield Problem(seq=expected, detail=f"Entries {expected} to {entry.seq - 1} are missing.")
                return
            for level, index, found in new_nodes(entry.seq, entry.leaf(), lambda level, index: tree[level, index]):
                tree[level, index] = found
            expected += 1
    except ValueError as error:
        yield Problem(seq=expected, detail=f"An entry from {expected} on does not read: {error}.")


def _check_nodes(session: Session, tree: dict[tuple[int, int], bytes]) -> Iterator[Problem]:
    """Compare each stored hash with the recomputed one; a differing leaf names its entry."""
    seen = 0
    changed: list[int] = []
    for level, index, stored in session.execute(
        select(store.NodeRow.level, store.NodeRow.index, store.NodeRow.hash).order_by(store.NodeRow.level, store.NodeRow.index)
    ):
        seen += 1
        found = tree.get((level, index))
        if found is None:
            yield Problem(seq=index << level, detail=f"A stored hash covers entries from {index << level} that do not exist.")
        elif found != stored and level == 0:
            changed.append(index)
            yield Problem(seq=index, detail=f"Entry {index} was changed after it was written.")
        elif found != stored:
            start, end = index << level, (index + 1 << level) - 1
            if any(start <= entry <= end for entry in changed):
                continue  # said already: the hashes above a changed entry differ because of it
            yield Problem(seq=None, detail=f"The stored hash over entries {start} to {end} does not match them.")
    if seen < len(tree):
        yield Problem(seq=None, detail=f"{len(tree) - seen} stored hashes are missing.")


def _check_checkpoint(
    checkpoint: dict[str, object], key: PublicKey, checkpoint_type: str, tree: dict[tuple[int, int], bytes], size: int
) -> Iterator[Problem]:
    """Check one checkpoint's signature, and its root against the recomputed tree."""
    envelope, covered = checkpoint["envelope"], checkpoint["size"]
    payload = key.open(envelope, checkpoint_type) if isinstance(envelope, dict) else None
    claimed = {"origin": ORIGIN, "size": covered, "root": checkpoint["root"], "time": checkpoint["time"]}
    if payload != claimed or not isinstance(covered, int):
        yield Problem(seq=None, detail=f"The checkpoint over {covered} entries is not signed by key {key.id[:16]}.")
    elif covered > size:
        yield Problem(seq=None, detail=f"A signed checkpoint covers {covered} entries, but only {size} are left.")
    elif root(covered, lambda level, index: tree[level, index]).hex() != checkpoint["root"]:
        yield Problem(seq=None, detail=f"The entries up to {covered - 1} differ from the signed checkpoint over {covered} entries.")
