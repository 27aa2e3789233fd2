"""Which containers there are, for those who watch all of them."""

from __future__ import annotations

from collections.abc import Callable

import gevent
import structlog
from redis.exceptions import RedisError

_log = structlog.get_logger()

_ROUND_SECONDS = 1.0

Listener = Callable[[list[str]], None]


class Roster:
    """Reads the names once a second while anybody listens: one read for all.

    Whoever is told late misses nothing: a container's streams are read from their beginning.
    """

    def __init__(self, names: Callable[[], list[str]]) -> None:
        self.names = names
        self._listeners: set[Listener] = set()
        self._greenlet: gevent.Greenlet | None = None

    def add(self, listener: Listener) -> None:
        """Have somebody told all names, every round."""
        self._listeners.add(listener)
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._run)

    def remove(self, listener: Listener) -> None:
        """Tell somebody no more; more than once is harmless."""
        self._listeners.discard(listener)

    def _run(self) -> None:
        while self._listeners:
            gevent.sleep(_ROUND_SECONDS)
            try:
                names = self.names()
            except RedisError as error:
                _log.debug("names of containers not read", reason=str(error))
                continue
            for listener in list(self._listeners):
                self._tell(listener, names)
        self._greenlet = None

    def _tell(self, listener: Listener, names: list[str]) -> None:
        try:
            listener(names)
        except Exception as error:  # noqa: BLE001 (the others are still to be told)
            _log.error("following new containers failed", exc_info=error)
