"""`/ws/<internal_id>`: a socket for one container."""

from __future__ import annotations

from functools import partial

from app.sockets.client import Client
from app.sockets.errands import Errands
from app.sockets.following import Following, Wish
from app.sockets.live import Live
from app.sockets.requests import Request, handle
from fleet.repositories.tokens import Principal


class OneContainer:
    """What a client of one container is told, and may ask for."""

    def __init__(
        self, live: Live, client: Client, principal: Principal, errands: Errands, container_id: str, wish: Wish
    ) -> None:
        self._live = live
        self._client = client
        self._principal = principal
        self._errands = errands
        self._container_id = container_id
        self._following = Following(live, client, principal, container_id, wish)

    def handle(self, request: Request) -> None:
        """Do what a request asks; raises LightdError or RedisError."""
        step = partial(handle, self._live.services, self._principal, self._container_id, self._client.answer, request)
        self._errands.do(self._container_id, request, step)

    def end(self) -> None:
        """Leave nothing behind."""
        self._following.end()
