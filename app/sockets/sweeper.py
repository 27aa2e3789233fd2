"""One task for all sockets of a process: whose token has ended, whose peer is silent, is the store gone for long."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
import structlog
from redis.exceptions import RedisError

from app.sockets.client import STORE_GONE, UNAUTHENTICATED
from app.sockets.places import Places
from app.sockets.registry import Registry
from fleet.repositories.tokens import Principal, TokenRepository

_log = structlog.get_logger()

_ROUND_SECONDS = 2.0
_PRINCIPALS_AT_ONCE = 500
_ENDED = "the token has ended"


class Sweeper:
    """Goes round every two seconds. `silent_seconds` says for how long a store has not been heard of."""

    def __init__(
        self,
        registry: Registry,
        places: Places,
        tokens: TokenRepository,
        silent_seconds: Callable[[], float],
        longest_silence_seconds: float,
    ) -> None:
        self._registry = registry
        self._places = places
        self._tokens = tokens
        self._silent_seconds = silent_seconds
        self._longest_silence_seconds = longest_silence_seconds
        self._greenlet: gevent.Greenlet | None = None

    def begin(self) -> None:
        """Start going round; more than once is harmless."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            gevent.sleep(_ROUND_SECONDS)
            self._try(self._round)
            self._try(self._places.keep)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except RedisError as error:
            _log.debug("a round through the sockets is left out", reason=str(error))
        except Exception as error:  # noqa: BLE001 (the next round must come)
            _log.error("a round through the sockets failed", exc_info=error)

    def _round(self) -> None:
        now = time.monotonic()
        for client in self._registry:
            client.keep_alive(now)
            if client.principal is not None and client.principal.has_expired:
                client.close(UNAUTHENTICATED, _ENDED)
        if self._silent_seconds() > self._longest_silence_seconds:
            for client in self._registry:
                client.close(STORE_GONE, "the store cannot be reached")
            return
        live = self._live_digests()
        for client in self._registry:
            if client.principal is not None and client.principal.digest not in live:
                client.close(UNAUTHENTICATED, _ENDED)

    def _live_digests(self) -> set[str]:
        """Of everyone connected when it was asked, and of everyone who came meanwhile."""
        asked = {client.principal.digest: client.principal for client in self._registry if client.principal}
        live: set[str] = set()
        distinct: list[Principal] = list(asked.values())
        for first in range(0, len(distinct), _PRINCIPALS_AT_ONCE):
            live |= self._tokens.live(distinct[first : first + _PRINCIPALS_AT_ONCE])
        return live | {client.principal.digest for client in self._registry if client.principal} - asked.keys()
