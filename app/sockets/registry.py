"""All clients of this process."""

from __future__ import annotations

from collections.abc import Iterator

from app.sockets.client import GOING_AWAY, Client

_LEAVING_SECONDS = 1.0


class Registry:
    """Who is connected."""

    def __init__(self) -> None:
        self._clients: set[Client] = set()

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._clients))

    def add(self, client: Client) -> None:
        """A client has connected."""
        self._clients.add(client)

    def remove(self, client: Client) -> None:
        """A client has left."""
        self._clients.discard(client)

    def leave(self) -> None:
        """The process is ending: close all connections."""
        for client in self:
            client.close(GOING_AWAY, "going away", within_seconds=_LEAVING_SECONDS)
