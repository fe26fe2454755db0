"""What only Redis can do wrong."""

import pytest
import redis
import structlog

from gateline.adapters.redis import RedisOnlineStore
from gateline.features import Change, Mark
from gateline.kernel.errors import ConfigurationError, StorageFull, Unavailable

VIEW = "a" * 64


@pytest.fixture
def admin(redis_server):
    with redis.Redis.from_url(redis_server.url) as connection:
        connection.flushall()
        yield connection
        connection.config_set("maxmemory", 0)
        connection.config_set("appendonly", "yes")


def test_what_was_acknowledged_survives_the_death_of_the_server(admin, redis_server):
    store = RedisOnlineStore(redis_server.url)
    assert store.commit([Change(VIEW, "JFK", None, b"1")], {VIEW: Mark(watermark=5)})
    redis_server.kill()
    store.close()
    store = RedisOnlineStore(redis_server.url)
    assert store.get_many(VIEW, ["JFK"]) == [b"1"]
    assert store.mark(VIEW) == Mark(watermark=5)
    store.close()


def test_a_full_memory_is_one_clear_error_and_nothing_is_half_written(admin, redis_server):
    store = RedisOnlineStore(redis_server.url)
    admin.config_set("maxmemory", 1)
    with pytest.raises(StorageFull, match="nothing was written"):
        store.commit([Change(VIEW, str(key), None, b"x") for key in range(10)], {VIEW: Mark(watermark=5)})
    assert store.get_many(VIEW, [str(key) for key in range(10)]) == [None] * 10
    store.close()


def test_a_server_that_is_away_or_no_server_at_all_is_said_so(tmp_path):
    with pytest.raises(Unavailable, match="does not answer"):
        RedisOnlineStore(f"unix://{tmp_path}/none.sock")
    with pytest.raises(ConfigurationError, match="redis://host"):
        RedisOnlineStore("http://elsewhere")


def test_a_server_that_would_forget_is_warned_about(admin, redis_server):
    admin.config_set("appendonly", "no")
    with structlog.testing.capture_logs() as logs:
        RedisOnlineStore(redis_server.url).close()
    assert [log["event"] for log in logs] == ["online_store.not_durable"]
