"""All clients of this process."""

from __future__ import annotations

from collections.abc import Iterator

from app.sockets.client import GOING_AWAY, Client
from fleet.errors import Unavailable

_LEAVING_SECONDS = 1.0


class Registry:
    """Who is connected; takes at most `limit` and, once the process is leaving, nobody."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._clients: set[Client] = set()
        self._is_leaving = False

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._clients))

    def check_room(self) -> None:
        """Raise Unavailable when nobody more can be taken."""
        if self._is_leaving:
            raise Unavailable("This API process is shutting down; connect again.", code="shutting_down")
        if len(self._clients) >= self._limit:
            sentence = f"This API process has its {self._limit} WebSocket connections; close some or try again later."
            raise Unavailable(sentence, code="socket_limit")

    def add(self, client: Client) -> None:
        """A client has connected."""
        self._clients.add(client)

    def remove(self, client: Client) -> None:
        """A client has left."""
        self._clients.discard(client)

    def leave(self) -> None:
        """The process is ending: close all connections."""
        self._is_leaving = True
        for client in self:
            client.close(GOING_AWAY, "going away", within_seconds=_LEAVING_SECONDS)
