"""All clients of this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from app.sockets.client import GOING_AWAY, Client
from fleet.errors import TooMany, Unavailable
from fleet.repositories.tokens import Principal

_LEAVING_SECONDS = 1.0
_RETRY_SECONDS = 5


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """How many connections this process takes."""

    in_all: int
    per_container: int
    per_token: int


class Registry:
    """Who is connected; takes at most so many and, once the process is leaving, nobody."""

    def __init__(self, limits: SocketLimits) -> None:
        self._limits = limits
        self._clients: set[Client] = set()
        self._of_container: Counter[str] = Counter()
        self._of_token: Counter[str] = Counter()
        self._is_leaving = False

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._clients))

    def check_room(self, container_id: str | None) -> None:
        """Raise Unavailable when nobody more can be taken, TooMany when nobody more can watch this container."""
        if self._is_leaving:
            raise Unavailable("This API process is shutting down; connect again.", code="shutting_down")
        limits = self._limits
        if len(self._clients) >= limits.in_all:
            sentence = f"This API process has its {limits.in_all} WebSocket connections; close some or try again later."
            raise Unavailable(sentence, code="socket_limit")
        if container_id is not None and self._of_container[container_id] >= limits.per_container:
            raise _too_many(f"Container {container_id} has its {limits.per_container} WebSocket connections")

    def check_token(self, principal: Principal) -> None:
        """Raise TooMany when this token has all the connections it may have."""
        if self._of_token[principal.digest] >= self._limits.per_token:
            raise _too_many(f"This token has its {self._limits.per_token} WebSocket connections")

    def add(self, client: Client) -> None:
        """A client has connected."""
        self._clients.add(client)
        if client.container_id is not None:
            self._of_container[client.container_id] += 1
        if client.principal is not None:
            self._of_token[client.principal.digest] += 1

    def authenticated(self, client: Client, principal: Principal) -> None:
        """A client that was added has shown whose it is."""
        client.principal = principal
        self._of_token[principal.digest] += 1

    def remove(self, client: Client) -> None:
        """A client has left."""
        self._clients.discard(client)
        if client.container_id is not None:
            _take_one(self._of_container, client.container_id)
        if client.principal is not None:
            _take_one(self._of_token, client.principal.digest)

    def leave(self) -> None:
        """The process is ending: close all connections."""
        self._is_leaving = True
        for client in self:
            client.close(GOING_AWAY, "going away", within_seconds=_LEAVING_SECONDS)


def _take_one(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if counts[name] <= 0:
        del counts[name]


def _too_many(sentence: str) -> TooMany:
    return TooMany(
        f"{sentence}; close some or try again later.", code="socket_limit", retry_after_seconds=_RETRY_SECONDS
    )
