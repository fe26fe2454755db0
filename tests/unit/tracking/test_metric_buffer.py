"""Metric values on their way: batches, order, back-pressure, and nothing lost when the server does not accept them."""

from __future__ import annotations

import math
import threading

import pytest

from gateline.kernel.errors import Conflict, InvalidInput, Unavailable
from gateline.sdk.metric_buffer import BATCH_VALUES, BUFFER_VALUES_MAX, MetricBuffer, Value
from gateline.sdk.saved_metrics import _read, save_values


class Server:
    """What accepts batches: records them, fails while told to, waits while its gate is shut."""

    def __init__(self):
        self.batches = []
        self.down = None
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Semaphore(0)

    def __call__(self, values):
        self.asked.release()
        assert self.gate.wait(30)
        if self.down is not None:
            raise self.down
        self.batches.append(list(values))

    @property
    def values(self):
        return [value for batch in self.batches for value in batch]


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def buffer(server):
    made = MetricBuffer(server)
    yield made
    server.gate.set()
    made.close()


def values(count, key="loss"):
    return [Value(key, index / 7, 1, index) for index in range(count)]


def test_values_arrive_in_order_a_thousand_at_a_time(server, buffer):
    given = values(2_500)
    for start in range(0, 2_500, 10):
        buffer.add(given[start : start + 10])
    buffer.flush()
    assert server.values == given
    assert max(len(batch) for batch in server.batches) <= BATCH_VALUES
    assert len(server.batches) <= 5
    assert buffer.unsent == []


def test_a_few_values_leave_after_a_second_without_being_asked(server, buffer):
    buffer.add(values(3))
    assert server.asked.acquire(timeout=30)
    buffer.flush()
    assert server.values == values(3)


def test_a_flush_of_nothing_asks_nobody(server, buffer):
    buffer.flush()
    assert server.batches == []


def test_a_full_buffer_makes_the_training_wait_until_values_have_left(server, buffer):
    server.gate.clear()
    buffer.add(values(BUFFER_VALUES_MAX))
    taken = threading.Event()

    def one_more():
        buffer.add(values(1, "late"))
        taken.set()

    thread = threading.Thread(target=one_more)
    thread.start()
    assert server.asked.acquire(timeout=30)
    assert not taken.wait(0.2)
    assert len(buffer.unsent) == BUFFER_VALUES_MAX
    server.gate.set()
    thread.join(30)
    buffer.flush()
    assert len(server.values) == BUFFER_VALUES_MAX + 1


def test_what_fails_is_kept_said_and_logged_once_the_server_answers(server, buffer):
    server.down = ConnectionError("connection refused")
    server.gate.clear()
    buffer.add(values(1_500))
    server.gate.set()
    with pytest.raises(Unavailable, match=r"1,500 metric values are not logged yet: connection refused.*flush"):
        buffer.flush()
    with pytest.raises(Unavailable, match="not logged yet"):
        buffer.add(values(1, "kept too"))
    assert buffer.unsent == values(1_500) + values(1, "kept too")
    server.down = None
    buffer.flush()
    assert server.values == values(1_500) + values(1, "kept too")
    buffer.add(values(1, "taken again"))
    buffer.flush()
    assert server.values[-1].key == "taken again"


def test_a_failure_wakes_whoever_waits_for_room(server, buffer):
    server.gate.clear()
    server.down = ConnectionError("gone")
    buffer.add(values(BUFFER_VALUES_MAX))
    heard = []

    def one_more():
        with pytest.raises(Unavailable, match="full: 7 values given now were not taken"):
            buffer.add(values(7))
        heard.append(True)

    thread = threading.Thread(target=one_more)
    thread.start()
    server.gate.set()
    thread.join(30)
    assert heard == [True]
    assert len(buffer.unsent) == BUFFER_VALUES_MAX


def test_threads_lose_and_mix_up_nothing(server, buffer):
    def log(name):
        for index in range(500):
            buffer.add([Value(name, index, 1, index)])
            if index % 100 == 0:
                buffer.flush()

    threads = [threading.Thread(target=log, args=(f"m{index}",)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    buffer.flush()
    for index in range(8):
        assert [value.step for value in server.values if value.key == f"m{index}"] == list(range(500))
    assert len(server.values) == 4_000


def test_closing_leaves_what_was_not_sent(server, buffer):
    server.down = ConnectionError("gone")
    buffer.add(values(5))
    with pytest.raises(Unavailable):
        buffer.flush()
    buffer.close()
    assert buffer.unsent == values(5)


def test_an_ended_buffer_takes_no_value_and_says_so_instead_of_losing_it_or_hanging(server, buffer):
    buffer.add(values(3))
    buffer.flush(last=True)
    with pytest.raises(Conflict, match="1 metric values were not taken: the run has ended"):
        buffer.add(values(1, "late"))
    buffer.flush()
    buffer.close()
    with pytest.raises(Conflict, match="has ended"):
        buffer.add(values(1, "later"))
    buffer.flush()
    assert (server.values, buffer.unsent) == (values(3), [])


def test_closing_wakes_who_waits_for_room_and_who_flushes(server, buffer):
    server.gate.clear()
    buffer.add(values(BUFFER_VALUES_MAX))
    heard = []

    def waits(call):
        with pytest.raises(Conflict, match="has ended"):
            call()
        heard.append(True)

    threads = [threading.Thread(target=waits, args=(call,)) for call in (lambda: buffer.add(values(1, "late")), buffer.flush)]
    for thread in threads:
        thread.start()
    assert server.asked.acquire(timeout=30)
    closing = threading.Thread(target=buffer.close)
    closing.start()
    for thread in threads:
        thread.join(30)
    server.gate.set()
    closing.join(30)
    assert heard == [True, True]
    assert len(buffer.unsent) == BUFFER_VALUES_MAX - BATCH_VALUES  # the batch under way arrived
    with pytest.raises(Conflict, match="49,000 metric values are not logged"):
        buffer.flush()


def test_values_survive_a_file_nan_and_infinities_too(tmp_path):
    given = [Value("loss", math.inf, 1, 2), Value("loss", -0.25, 3, -4)]
    save_values(tmp_path / "values", "a" * 32, [*given, Value("loss", math.nan, 5, 6)])
    run_id, found = _read(tmp_path / "values")
    assert run_id == "a" * 32
    assert found[:2] == given
    assert math.isnan(found[2].value)
    assert found[2].step == 6


@pytest.mark.parametrize("content", [None, b"", b"{}\n", b"not json\n", b'{"run_id": "a"}\n[1]\n', b"\xff"])
def test_another_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "values"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match="values"):
        _read(path)
