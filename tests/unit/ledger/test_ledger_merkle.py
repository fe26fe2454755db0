"""The tree of RFC 9162, checked against its recursive definition."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from gateline.ledger.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    new_nodes,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(str(number).encode()) for number in range(70)]


def defined_root(leaves: list[bytes]) -> bytes:
    """The definition of RFC 9162, 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(defined_root(leaves[:split]), defined_root(leaves[split:]))


def grow(size: int) -> dict[tuple[int, int], bytes]:
    """The stored nodes of a tree."""
    nodes: dict[tuple[int, int], bytes] = {}
    for number in range(size):
        for level, index, found in new_nodes(number, LEAVES[number], lambda level, index: nodes[level, index]):
            nodes[level, index] = found
    return nodes


NODES = grow(len(LEAVES))


def read(level: int, index: int) -> bytes:
    """Read a node of the full tree."""
    return NODES[level, index]


def test_leaf_hash_has_the_value_of_the_certificate_transparency_test_vector() -> None:
    """The empty leaf of the reference implementation."""
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_an_empty_tree_has_the_hash_of_nothing() -> None:
    """As RFC 9162 defines it."""
    assert root(0, read) == EMPTY_ROOT


@given(st.integers(0, len(LEAVES)))
def test_stored_nodes_give_the_root_of_the_definition(size: int) -> None:
    """For every prefix."""
    assert root(size, read) == defined_root(LEAVES[:size])


@given(st.data())
def test_an_inclusion_proof_convinces_for_its_leaf_alone(data: st.DataObject) -> None:
    """The proof holds for the right leaf, position and size and for no other."""
    size = data.draw(st.integers(1, len(LEAVES)))
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, read)
    expected = root(size, read)
    assert verify_inclusion(LEAVES[index], index, size, proof, expected)
    assert not verify_inclusion(leaf_hash(b"other"), index, size, proof, expected)
    assert not verify_inclusion(LEAVES[index], index, size, [*proof, proof[0] if proof else expected], expected)
    assert not verify_inclusion(LEAVES[index], size, size, proof, expected)


@given(st.data())
def test_a_consistency_proof_convinces_only_when_the_old_tree_is_a_prefix(data: st.DataObject) -> None:
    """The proof holds between real prefixes, and for no forged old root."""
    second = data.draw(st.integers(2, len(LEAVES)))
    first = data.draw(st.integers(1, second - 1))
    proof = consistency_proof(first, second, read)
    old, new = root(first, read), root(second, read)
    assert verify_consistency(first, second, old, new, proof)
    assert not verify_consistency(first, second, leaf_hash(b"forged"), new, proof)
    assert not verify_consistency(first, second, old, leaf_hash(b"forged"), proof)
