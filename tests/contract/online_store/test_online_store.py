"""What callers may rely on, whichever store keeps the features."""

import threading

import pytest

from gateline.features import Change, Extent, Mark, OnlineStore

A, B = "a" * 64, "b" * 64


def put(store, view, key, blob):
    (entry,) = store.entries(view, [key])
    assert store.commit([Change(view, key, entry and entry.revision, blob)], {})


def test_what_was_written_is_read_in_the_order_of_the_keys_asked_for(store):
    assert store.commit([Change(A, str(key), None, b"\x00\xff" + bytes([key])) for key in range(200)], {})
    keys = [str(key) for key in range(300, -1, -7)]
    assert store.get_many(A, keys) == [b"\x00\xff" + bytes([int(key)]) if int(key) < 200 else None for key in keys]
    assert store.get_many(A, ["5", "5", "none", "6"]) == [b"\x00\xff\x05", b"\x00\xff\x05", None, b"\x00\xff\x06"]
    assert store.get_many(A, []) == []


def test_more_keys_than_one_statement_holds_are_read_at_once(store):
    keys = [f"key-{number}" for number in range(2_345)]
    assert store.commit([Change(A, key, None, key.encode()) for key in keys], {})
    assert store.get_many(A, keys) == [key.encode() for key in keys]
    assert [entry.blob for entry in store.entries(A, keys)] == [key.encode() for key in keys]
    assert sorted(store.keys(A)) == sorted(keys)


def test_views_do_not_see_each_other(store):
    put(store, A, "JFK", b"1")
    assert store.get_many(B, ["JFK"]) == [None]
    assert store.entries(B, ["JFK"]) == [None]
    put(store, B, "JFK", b"2")
    assert store.get_many(A, ["JFK"]) == [b"1"]


@pytest.mark.parametrize("key", ["", "[]", '["Zürich"]', '["a\\u0000b"]', "'; DROP TABLE state; --", "x" * 5_000])
def test_a_key_may_be_any_text(store, key):
    put(store, A, key, b"value")
    assert store.get_many(A, [key, "other"]) == [b"value", None]


def test_a_large_blob_comes_back_whole(store):
    blob = bytes(range(256)) * 20_000
    put(store, A, "JFK", blob)
    assert store.get_many(A, ["JFK"]) == [blob]
    assert store.extent(A) == Extent(keys=1, size_bytes=len(blob))


def test_a_commit_on_another_revision_than_the_last_writes_nothing_at_all(store):
    put(store, A, "JFK", b"1")
    (old,) = store.entries(A, ["JFK"])
    put(store, A, "JFK", b"2")
    stale = [Change(A, "EWR", None, b"new"), Change(A, "JFK", old.revision, b"lost")]
    assert not store.commit(stale, {A: Mark(watermark=9)})
    assert store.get_many(A, ["JFK", "EWR"]) == [b"2", None]
    assert store.mark(A) == Mark()
    assert not store.commit([Change(A, "JFK", None, b"lost")], {})
    assert not store.commit([Change(A, "LGA", old.revision, b"lost")], {})


def test_a_removed_and_rewritten_entry_is_not_taken_for_the_old_one(store):
    put(store, A, "JFK", b"1")
    (old,) = store.entries(A, ["JFK"])
    assert store.commit([Change(A, "JFK", old.revision, None)], {})
    assert store.get_many(A, ["JFK"]) == [None]
    put(store, A, "JFK", b"1")
    assert not store.commit([Change(A, "JFK", old.revision, b"lost")], {})


def test_marks_only_move_forward(store):
    assert store.mark(A) == Mark()
    assert store.commit([], {A: Mark(watermark=-5)})
    assert store.mark(A) == Mark(watermark=-5)
    assert store.commit([], {A: Mark(watermark=1_356_998_400_000_000, covered=7)})
    assert store.commit([], {A: Mark(watermark=999, covered=1 << 61, horizon=-3)})
    assert store.mark(A) == Mark(watermark=1_356_998_400_000_000, covered=1 << 61, horizon=-3)
    assert store.commit([], {A: Mark()})
    assert store.commit([], {A: Mark(watermark=1_356_998_400_000_001)})
    assert store.mark(A) == Mark(watermark=1_356_998_400_000_001, covered=1 << 61, horizon=-3)


def test_a_commit_over_two_views_is_one(store):
    assert store.commit([Change(A, "JFK", None, b"1"), Change(B, "JFK", None, b"2")], {A: Mark(watermark=1), B: Mark(watermark=2)})
    assert (store.mark(A).watermark, store.mark(B).watermark) == (1, 2)
    assert store.views() == [A, B]
    assert not store.commit([Change(A, "EWR", None, b"1"), Change(B, "JFK", None, b"lost")], {})
    assert store.get_many(A, ["EWR"]) == [None]


def test_a_dropped_view_is_gone_and_may_come_again(store, opened):
    other = opened()
    assert store.commit([Change(A, "JFK", None, b"1")], {A: Mark(watermark=1)})
    assert other.get_many(A, ["JFK"]) == [b"1"]
    store.drop(A)
    store.drop(B)
    assert (store.get_many(A, ["JFK"]), store.mark(A), store.extent(A), store.views()) == ([None], Mark(), Extent(keys=0, size_bytes=0), [])
    assert store.commit([Change(A, "JFK", None, b"2")], {A: Mark(watermark=2)})
    assert other.get_many(A, ["JFK"]) == [b"2"]


def test_writers_in_many_threads_and_stores_never_lose_an_update(opened):
    stores, rounds = [opened() for _ in range(3)], 25
    assert stores[0].commit([Change(A, "n", None, b"0")], {})
    refused = []

    def count(store: OnlineStore) -> None:
        for _ in range(rounds):
            while True:
                (entry,) = store.entries(A, ["n"])
                if store.commit([Change(A, "n", entry.revision, str(int(entry.blob) + 1).encode())], {}):
                    break
                refused.append(1)

    threads = [threading.Thread(target=count, args=(store,)) for store in stores for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stores[1].get_many(A, ["n"]) == [str(6 * rounds).encode()]
