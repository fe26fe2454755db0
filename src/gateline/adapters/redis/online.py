"""The online store on Redis: one hash for each view, written by one script, so that a commit takes place as a whole or not at all."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis
import structlog
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from gateline.features import Change, Entry, Extent, Mark, new_revision
from gateline.kernel.errors import ConfigurationError, StorageFull, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_log = structlog.get_logger(__name__)
_REVISION_BYTES = 8
_PAGE = 1_000
_TIMEOUT_SECONDS = 20.0
_FIELDS = ("watermark", "covered", "horizon")

# KEYS: for each view its entries, then its marks. ARGV: the new revision, the number of changes, for each change the place of its view,
# key, expected revision (empty: none) and blob (empty: remove); then for each view its three marks (empty: leave).
_COMMIT = """
local place = 3
for change = 1, tonumber(ARGV[2]) do
  local there = redis.call('HGET', KEYS[tonumber(ARGV[place]) * 2 + 1], ARGV[place + 1])
  if (there and string.sub(there, 1, 8) or '') ~= ARGV[place + 2] then return 0 end
  place = place + 4
end
place = 3
for change = 1, tonumber(ARGV[2]) do
  local entries = KEYS[tonumber(ARGV[place]) * 2 + 1]
  if ARGV[place + 3] == '' then
    redis.call('HDEL', entries, ARGV[place + 1])
  else
    redis.call('HSET', entries, ARGV[place + 1], ARGV[1] .. ARGV[place + 3])
  end
  place = place + 4
end
for view = 0, #KEYS / 2 - 1 do
  for _, field in ipairs({'watermark', 'covered', 'horizon'}) do
    local new = ARGV[place]
    local there = redis.call('HGET', KEYS[view * 2 + 2], field)
    if new ~= '' and (not there or #there < #new or (#there == #new and there < new)) then
      redis.call('HSET', KEYS[view * 2 + 2], field, new)
    end
    place = place + 1
  end
end
return 1
"""
_MARK_SHIFT = 1 << 62  # marks are kept as numbers of one sign, which compare as text of equal length; doubles of Lua lose digits


class RedisOnlineStore:
    """An online store on one Redis server or its replicas. It is as durable as the server: `appendfsync always` survives a power cut.

    Args:
        url: `redis://host:port/number`, `rediss://…` or `unix:///path`.
        prefix: What every key begins with.

    Raises:
        Unavailable: the server does not answer.
        ConfigurationError: the address is none, or the server refuses us.
    """

    def __init__(self, url: str, *, prefix: str = "gateline") -> None:
        self._prefix = prefix
        try:
            self._redis = redis.Redis.from_url(url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS)
        except ValueError as error:
            raise ConfigurationError(
                f"The address of the online store is not one of Redis: {error}.",
                next_step="Write redis://host:6379/0 in GATELINE_ONLINE_URL.",
            ) from error
        self._script = self._redis.register_script(_COMMIT)
        with self._errors():
            persistence: Any = self._redis.info("persistence")
        if not persistence.get("aof_enabled"):
            _log.warning(
                "online_store.not_durable", reason="Redis keeps no append-only file: a restart loses events since its last snapshot"
            )

    def get_many(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        """Return the blob of each key, in order; None where there is none."""
        return [None if found is None else found[_REVISION_BYTES:] for found in self._raw(view, keys)]

    def entries(self, view: str, keys: Sequence[str]) -> list[Entry | None]:
        """Return blob and revision of each key, in order; None where there is none."""
        return [
            None if found is None else Entry(revision=int.from_bytes(found[:_REVISION_BYTES], "big"), blob=found[_REVISION_BYTES:])
            for found in self._raw(view, keys)
        ]

    def commit(self, changes: Sequence[Change], marks: Mapping[str, Mark]) -> bool:
        """Write all changes and advance the marks, or nothing; False when an entry is no longer the expected one."""
        views = list(dict.fromkeys([*marks, *(change.view for change in changes)]))
        place = {view: number for number, view in enumerate(views)}
        arguments: list[bytes | str | int] = [new_revision().to_bytes(_REVISION_BYTES, "big"), len(changes)]
        for change in changes:
            expected = b"" if change.expected is None else change.expected.to_bytes(_REVISION_BYTES, "big")
            arguments += [place[change.view], change.key, expected, change.blob or b""]
        for view in views:
            mark = marks.get(view, Mark())
            arguments += [_mark_text(getattr(mark, field)) for field in _FIELDS]
        names = [name for view in views for name in (self._entries(view), self._marks(view))]
        with self._errors():
            return bool(self._script(keys=names, args=arguments)) if views else True

    def mark(self, view: str) -> Mark:
        """Return how far the view has come."""
        with self._errors():
            found: Any = self._redis.hmget(self._marks(view), list(_FIELDS))
        return Mark(**{field: None if text is None else int(text) - _MARK_SHIFT for field, text in zip(_FIELDS, found, strict=True)})

    def keys(self, view: str) -> Iterator[str]:
        """Yield the key of every entry, in no order; of entries that are written meanwhile, some may be left out or come twice."""
        cursor: Any = 0
        while True:
            with self._errors():
                found: Any = self._redis.hscan(self._entries(view), cursor, count=_PAGE)
            cursor, page = found
            yield from (key.decode() for key in page)
            if not cursor:
                return

    def extent(self, view: str) -> Extent:
        """Return how much is kept of the view."""
        size = 0
        with self._errors():
            for _, blob in self._redis.hscan_iter(self._entries(view), count=_PAGE):
                size += len(blob) - _REVISION_BYTES
            count: Any = self._redis.hlen(self._entries(view))
        return Extent(keys=count, size_bytes=size)

    def views(self) -> list[str]:
        """Return the fingerprints of all views of which something is kept, sorted."""
        start = len(self._marks(""))
        with self._errors():
            return sorted({key[start:].decode() for key in self._redis.scan_iter(f"{self._marks('')}*", count=_PAGE)})

    def drop(self, view: str) -> None:
        """Remove everything of the view."""
        with self._errors():
            self._redis.unlink(self._entries(view), self._marks(view))

    def close(self) -> None:
        """Give back every connection."""
        self._redis.close()

    def _raw(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        if not keys:
            return []
        with self._errors():
            found: Any = self._redis.hmget(self._entries(view), list(keys))
        return list(found)

    def _entries(self, view: str) -> str:
        return f"{self._prefix}:state:{view}"

    def _marks(self, view: str) -> str:
        return f"{self._prefix}:mark:{view}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what the client raises into errors of the tree."""
        try:
            yield
        except OutOfMemoryError as error:
            raise StorageFull(
                "The online store on Redis has no memory left; nothing was written.", next_step="Raise its maxmemory and try again."
            ) from error
        except ResponseError as error:
            if "OOM" in str(error):
                raise StorageFull(
                    "The online store on Redis has no memory left; nothing was written.", next_step="Raise its maxmemory and try again."
                ) from error
            raise ConfigurationError(f"The online store on Redis refuses: {error}.", next_step="See what its user may do.") from error
        except RedisError as error:
            raise Unavailable(f"The online store on Redis does not answer: {error}.", next_step="See whether it runs.") from error


def _mark_text(mark: int | None) -> str:
    return "" if mark is None else str(mark + _MARK_SHIFT)
