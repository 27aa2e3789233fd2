"""The life of one socket, from its first message to its close."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import structlog
from redis.exceptions import RedisError

from app.sockets.client import FORBIDDEN, INTERNAL_ERROR, TRY_AGAIN, UNAUTHENTICATED, Client
from app.sockets.errands import Errands
from app.sockets.following import Wish
from app.sockets.live import Live
from app.sockets.many import ManyContainers
from app.sockets.one import OneContainer
from app.sockets.outbox import Outbox
from app.sockets.permissions import require_watching
from app.sockets.places import Place
from app.sockets.rate import RateLimit
from app.sockets.requests import Request, parse
from fleet.errors import Forbidden, Invalid, LightdError, TooMany
from fleet.repositories.tokens import Principal

_log = structlog.get_logger()

_AUTH_SECONDS = 5
_LAST_WRITE_SECONDS = 2
_LINGER_SECONDS = 1


class Session:
    """One socket, of one container or, without `container_id`, of many.

    `socket` is simple-websocket's, made with `reading.server_options`; `address` is its client's, `place` was taken.
    """

    def __init__(
        self,
        live: Live,
        socket: Any,
        container_id: str | None,
        wish: Wish,
        principal: Principal | None,
        place: Place,
        address: str,
    ) -> None:
        self._live = live
        self._container_id = container_id
        self._socket = socket
        self._wish = wish
        self._place = place
        self._address = address
        self._outbox: Outbox = socket.sock
        self._client = Client(socket, self._outbox, container_id, principal, time.monotonic())
        self._rate = RateLimit(live.services.settings.socket_messages_per_second)
        self._errands = Errands(self._do_errand)
        self._watching: OneContainer | ManyContainers | None = None
        self._patience: gevent.Greenlet | None = None

    def run(self) -> None:
        """Serve the client until it leaves or is closed."""
        self._live.registry.add(self._client)
        try:
            if self._client.principal is None:
                self._patience = gevent.spawn_later(_AUTH_SECONDS, self._refuse, "no token came in time")
            else:
                self._begin(self._client.principal)
            self._socket.event.heard = self._heard
            self._socket.thread.run()
        except Exception as error:  # noqa: BLE001 (an HTTP 500 must never be written into a socket)
            self._fail(error)
        finally:
            self._end()

    def _heard(self) -> None:
        while self._socket.input_buffer and not self._client.is_closing:
            message = self._socket.receive(timeout=0)
            self._attempt(partial(self._handle, message))

    def _attempt(self, step: Callable[[], None]) -> None:
        """Do what the client asks, and tell it what goes wrong."""
        try:
            step()
        except LightdError as error:
            self._client.error(error.message)
        except RedisError:
            self._client.error("The store cannot be reached; try again soon.")
        except Exception as error:  # noqa: BLE001 (whatever it is, only this client is closed)
            self._fail(error)

    def _do_errand(self, step: Callable[[], None]) -> None:
        """Do what waited for its turn, unless the token that it was asked with has ended meanwhile."""
        if not self._client.token_ended:
            self._attempt(step)

    def _handle(self, message: str | bytes) -> None:
        if not self._rate.allows():
            raise Invalid("too many messages")
        request = parse(message)
        if self._client.principal is None or self._watching is None:
            self._authenticate(request)
        elif request["event"] != "auth":
            with structlog.contextvars.bound_contextvars(asked_by=self._client.principal.name):
                self._watching.handle(request)

    def _authenticate(self, request: Request) -> None:
        """The first message of a client that brought no token in its handshake."""
        token = request.get("token")
        if request["event"] != "auth" or not isinstance(token, str):
            self._refuse("the first message must bring a token")
            return
        try:
            principal = self._live.services.logins.log_in(token, self._address)
        except TooMany as error:
            self._refuse(error.message)
            return
        if principal is None:
            self._refuse("missing or invalid token")
        elif not self._client.is_closing:
            self._admit(principal)

    def _admit(self, principal: Principal) -> None:
        try:
            require_watching(principal, self._container_id)
            self._live.places.admit(self._place, self._container_id, principal)
        except Forbidden as error:
            self._client.close(FORBIDDEN, error.message)
            return
        except TooMany as error:
            self._client.close(TRY_AGAIN, error.message)
            return
        self._client.principal = principal
        self._begin(principal)

    def _refuse(self, reason: str) -> None:
        self._client.close(UNAUTHENTICATED, reason)

    def _begin(self, principal: Principal) -> None:
        """Start to tell the client what happens, beside reading from it."""
        if self._patience is not None:
            self._patience.kill(block=False)
        if self._container_id is None:
            self._watching = ManyContainers(self._live, self._client, principal, self._errands)
        else:
            self._watching = OneContainer(
                self._live, self._client, principal, self._errands, self._container_id, self._wish
            )

    def _fail(self, error: Exception) -> None:
        _log.error("socket handler failed", container_id=self._container_id, exc_info=error)
        self._client.close(INTERNAL_ERROR, "internal error")

    def _end(self) -> None:
        """Leave nothing behind: no greenlet, no subscription, no byte that could still go out."""
        if self._patience is not None:
            self._patience.kill()
        if self._watching is not None:
            self._watching.end()
        self._errands.end()
        self._place.give_back()
        self._live.registry.remove(self._client)
        self._socket.event.heard = None
        self._outbox.seal()
        self._outbox.wait_empty(_LAST_WRITE_SECONDS)
        self._outbox.linger(_LINGER_SECONDS)
        self._client.release()
