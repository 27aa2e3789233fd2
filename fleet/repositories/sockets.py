"""How many WebSockets all API processes have open, by name: in all, of a container, of a token."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.keys import key
from fleet.scripts import Scripts
from fleet.store import Client

ALIVE_SECONDS = 10
"""How long the places of an API process outlive it when it is killed."""


class SocketCounts:
    """The counts of one API process among all. `renew` must be called every few seconds while it holds places."""

    def __init__(self, redis: Client, process: str) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._process = process

    def look(self, limits: Mapping[str, int]) -> str | None:
        """The first of these names under which all processes together hold as much as they may; None for room."""
        return self._count(0, limits)

    def take(self, limits: Mapping[str, int]) -> str | None:
        """Count one more under each of these names, or under none of them: then the name that is full."""
        return self._count(1, limits)

    def give_back(self, names: list[str]) -> bool:
        """Count one less under each; False when the store has forgotten this process, and `tell` is needed."""
        return self._count(-1, dict.fromkeys(names, 0)) is None

    def renew(self) -> bool:
        """Give a sign of life; False when the store has forgotten this process, and `tell` is needed."""
        return bool(self._redis.expire(key("sockets", self._process), ALIVE_SECONDS))

    def tell(self, counts: Mapping[str, int]) -> None:
        """Put these counts in the place of what the store knows."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(key("sockets", self._process))
            pipe.srem(key("socket_processes"), self._process)
            if counts:
                pipe.hset(key("sockets", self._process), mapping=dict(counts))
                pipe.expire(key("sockets", self._process), ALIVE_SECONDS)
                pipe.sadd(key("socket_processes"), self._process)
            pipe.execute()

    def _count(self, by: int, limits: Mapping[str, int]) -> str | None:
        request = {
            "process": self._process,
            "by": by,
            "names": list(limits),
            "most": list(limits.values()),
            "seconds": ALIVE_SECONDS,
        }
        outcome, *reason = self._scripts.run("count_socket", request)
        return reason[0] if outcome == "refused" else None
