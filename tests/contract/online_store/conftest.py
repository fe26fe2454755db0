"""Every online store, fresh for each test."""

import pytest
import redis

from gateline.adapters.redis import RedisOnlineStore
from gateline.features import SqliteOnlineStore
from tests.support.redis import RedisServer


@pytest.fixture(scope="session")
def redis_server():
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "redis"])
def opened(request, tmp_path):
    """A function that opens the same store again, as another process would."""
    made = []
    if request.param == "sqlite":

        def open_again():
            made.append(SqliteOnlineStore(tmp_path / "online.db"))
            return made[-1]

    else:
        server = request.getfixturevalue("redis_server")
        with redis.Redis.from_url(server.url) as connection:
            connection.flushall()

        def open_again():
            made.append(RedisOnlineStore(server.url))
            return made[-1]

    yield open_again
    for store in made:
        store.close()


@pytest.fixture
def store(opened):
    return opened()
