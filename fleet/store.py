"""Connections to the two stores. Three kinds, because they fail differently.

Commands answer in seconds and are never repeated silently: a lost answer may mean a done deed.
Blocking reads wait longer than any command may, but not for ever: a store that vanished without a word would keep
them. Pub/sub connections are watched by who reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from fleet.errors import Unavailable
from fleet.settings import Settings

Client = Any
"""A redis-py client with text answers. Its own types name every decoding at once, which says nothing."""

_COMMAND_SECONDS = 5
BLOCKING_SECONDS = 40
"""Silence after which a blocking read gives up: longer than any of them asks the store to wait."""

_CONNECT_SECONDS = 2
_POOL_SIZE = 64


@dataclass(frozen=True, slots=True)
class Stores:
    """The record store for commands and for blocking reads, and the stream store."""

    record: Client
    blocking: Client
    stream: Client
    stream_bytes: Client


def connect(settings: Settings) -> Stores:
    """Clients for both stores; nothing is connected until the first command."""
    return Stores(
        record=_client(settings.store_address),
        blocking=_client(settings.store_address, timeout_seconds=BLOCKING_SECONDS, pool_size=1024),
        stream=_client(settings.stream_address),
        stream_bytes=_client(settings.stream_address, text=False),
    )


def subscriber(url: str) -> Any:
    """A bare connection for pub/sub, not connected yet: its owner subscribes, reads and notices its end itself.

    Answers come as lists of bytes, the same before and after the first subscription.
    """
    return redis.Redis.from_url(
        url,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_COMMAND_SECONDS,
    ).connection_pool.make_connection()


def _client(
    url: str, *, timeout_seconds: float = _COMMAND_SECONDS, pool_size: int = _POOL_SIZE, text: bool = True
) -> Client:
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=pool_size,
        timeout=_COMMAND_SECONDS,
        decode_responses=text,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_seconds,
        socket_connect_timeout=_CONNECT_SECONDS,
    )
    return redis.Redis(connection_pool=pool)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn failures of a store into Unavailable."""
    try:
        yield
    except RedisError as error:
        raise Unavailable("The store cannot be reached; try again soon.", code="store_unavailable") from error
