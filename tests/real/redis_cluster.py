"""Lets django-redis speak with a Redis Cluster, which it does not do by itself."""

from functools import lru_cache
from typing import Any

from django_redis.pool import ConnectionFactory as BaseConnectionFactory
from redis.cluster import RedisCluster


class ConnectionFactory(BaseConnectionFactory):
    """One client for each process: it finds the other nodes, and keeps connections to all."""

    def get_connection(self, params: dict[str, Any]) -> RedisCluster:
        """Return the client that all threads share."""
        return _client(params["url"], tuple(self.redis_client_cls_kwargs.items()))

    def disconnect(self, connection: RedisCluster) -> None:
        """Hang up on all nodes."""
        connection.disconnect_connection_pools()


@lru_cache
def _client(url: str, options: tuple[tuple[str, Any], ...]) -> RedisCluster:
    return RedisCluster.from_url(url, **dict(options))
