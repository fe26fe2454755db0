"""The online store on Redis, for installations that read features from more than one machine."""

from gateline.adapters.redis.online import RedisOnlineStore

__all__ = ["RedisOnlineStore"]
