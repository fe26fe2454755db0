"""The Merkle tree of RFC 9162 (Certificate Transparency 2.0), section 2.1: leaves, nodes, roots and proofs.

A leaf is hashed as SHA-256(0x00 || bytes) and a node as SHA-256(0x01 || left || right), so neither can pass for the other. Hashes are
32 bytes. Node (level, index) is the root of the complete subtree over the leaves [index * 2^level, (index + 1) * 2^level).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    ReadNode = Callable[[int, int], bytes]

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(content: bytes) -> bytes:
    """Return the hash of one leaf."""
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def peaks(size: int) -> list[tuple[int, int]]:
    """Return (level, index) of the complete subtrees that cover the first `size` leaves, left to right.

    >>> peaks(7)
    [(2, 0), (1, 2), (0, 6)]
    """
    found, start = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            found.append((level, start >> level))
            start += 1 << level
    return found


def new_nodes(size: int, leaf: bytes, read: ReadNode) -> Iterator[tuple[int, int, bytes]]:
    """Yield (level, index, hash) of each node that appending `leaf` to a tree of `size` leaves completes."""
    level, index, current = 0, size, leaf
    yield level, index, current
    while index & 1:
        current = node_hash(read(level, index - 1), current)
        level, index = level + 1, index >> 1
        yield level, index, current


def _fold(hashes: Sequence[bytes]) -> bytes:
    """Join peaks from the right, as the recursive definition of the tree does."""
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def root(size: int, read: ReadNode) -> bytes:
    """Return the root over the first `size` leaves."""
    return _fold([read(level, index) for level, index in peaks(size)]) if size else EMPTY_ROOT


def _range_root(start: int, end: int, read: ReadNode) -> bytes:
    """Return the hash over the leaves [start, end); start is a multiple of the largest power of two below the length."""
    found, size = [], end - start
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            found.append(read(level, start >> level))
            start += 1 << level
    return _fold(found)


def inclusion_proof(index: int, size: int, read: ReadNode) -> list[bytes]:
    """Return the audit path of the leaf (RFC 9162, 2.1.3.1), nearest sibling first."""

    def path(start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        split = start + (1 << (end - start - 1).bit_length() - 1)
        if index < split:
            return [*path(start, split), _range_root(split, end, read)]
        return [*path(split, end), _range_root(start, split, read)]

    return path(0, size)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> bool:
    """Return whether the proof shows the leaf at `index` under the root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    fn, sn, current = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            current = node_hash(sibling, current)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            current = node_hash(current, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and current == expected_root


def consistency_proof(first: int, second: int, read: ReadNode) -> list[bytes]:
    """Return the proof that the tree of `first` leaves is a prefix of the tree of `second` (RFC 9162, 2.1.4.1)."""

    def subproof(old: int, start: int, end: int, *, whole: bool) -> list[bytes]:
        if old == end:
            return [] if whole else [_range_root(start, end, read)]
        split = start + (1 << (end - start - 1).bit_length() - 1)
        if old <= split:
            return [*subproof(old, start, split, whole=whole), _range_root(split, end, read)]
        return [*subproof(old, split, end, whole=False), _range_root(start, split, read)]

    return subproof(first, 0, second, whole=True) if 0 < first < second else []


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Return whether the proof shows the first tree as a prefix of the second (RFC 9162, 2.1.4.2)."""
    if first == second:
        return first_root == second_root and not proof
    if not 0 < first < second or not proof:
        return False
    path = list(proof) if first & (first - 1) else [first_root, *proof]
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = node_hash(new, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and old == first_root and new == second_root
