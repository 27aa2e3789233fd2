"""The life of one socket, from its first message to its close."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, TypeVar

import gevent
import structlog
from redis.exceptions import RedisError

from app.services import Services
from app.sockets.client import INTERNAL_ERROR, UNAUTHENTICATED, Client
from app.sockets.hub import Hub
from app.sockets.notice import START
from app.sockets.outbox import Gone, Outbox
from app.sockets.rate import RateLimit
from app.sockets.registry import Registry
from app.sockets.requests import Request, handle, parse
from app.sockets.sources import feed_place
from app.sockets.state import not_found_message, state_message
from app.sockets.watch import NewestOnly, Subscription, Watch
from fleet.errors import Invalid, LightdError, TooMany
from fleet.repositories.tokens import Principal

_log = structlog.get_logger()

_Thing = TypeVar("_Thing")
_Streams = tuple[_Thing, _Thing, _Thing]
"""One for each stream of a container: its feed, its stats, its console."""

_AUTH_SECONDS = 5
_LAST_WRITE_SECONDS = 2
_LINGER_SECONDS = 1
_CONSOLE_SECONDS = 2
_STORE_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Live:
    """What all sockets of a process share."""

    services: Services
    registry: Registry
    feeds: Hub
    consoles: Hub
    stats: Hub

    @property
    def hubs(self) -> _Streams[Hub]:
        """In the order in which a client hears of them: what it must know first comes first."""
        return self.feeds, self.stats, self.consoles


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asked for in the URL: output after this seq, and every output twice."""

    since: int | None = None
    duplicates: bool = False


class Session:
    """One socket. `socket` is simple-websocket's, made with `reading.server_options`; `address` is its client's."""

    def __init__(
        self, live: Live, socket: Any, container_id: str, wish: Wish, principal: Principal | None, address: str
    ) -> None:
        self._live = live
        self._container_id = container_id
        self._socket = socket
        self._wish = wish
        self._address = address
        self._outbox: Outbox = socket.sock
        self._client = Client(socket, self._outbox, principal, time.monotonic())
        self._rate = RateLimit(live.services.settings.socket_messages_per_second)
        self._watching: _Streams[Watch] | None = None
        self._subscriptions: _Streams[Subscription] | None = None
        self._helper: gevent.Greenlet | None = None

    def run(self) -> None:
        """Serve the client until it leaves or is closed."""
        self._live.registry.add(self._client)
        try:
            if self._client.principal is None:
                self._helper = gevent.spawn_later(_AUTH_SECONDS, self._refuse, "no token came in time")
            else:
                self._begin()
            self._socket.event.heard = self._heard
            self._socket.thread.run()
        except Exception as error:  # noqa: BLE001 (an HTTP 500 must never be written into a socket)
            self._fail(error)
        finally:
            self._end()

    def _heard(self) -> None:
        while self._socket.input_buffer and not self._client.is_closing:
            message = self._socket.receive(timeout=0)
            try:
                self._handle(message)
            except LightdError as error:
                self._client.error(error.message)
            except RedisError:
                self._client.error("The store cannot be reached; try again soon.")
            except Exception as error:  # noqa: BLE001 (whatever it is, only this client is closed)
                self._fail(error)

    def _handle(self, message: str | bytes) -> None:
        if not self._rate.allows():
            raise Invalid("too many messages")
        request = parse(message)
        if self._client.principal is None:
            self._authenticate(request)
        elif request["event"] != "auth":
            with structlog.contextvars.bound_contextvars(asked_by=self._client.principal.name):
                handle(self._live.services, self._container_id, self._client, request)

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
            self._client.principal = principal
            self._begin()

    def _refuse(self, reason: str) -> None:
        self._client.close(UNAUTHENTICATED, reason)

    def _begin(self) -> None:
        """Start to tell the client what happens, beside reading from it."""
        if self._helper is not None:
            self._helper.kill(block=False)
        feed, stats, console = (hub.watch(self._container_id) for hub in self._live.hubs)
        self._watching = feed, stats, console
        self._helper = gevent.spawn(self._follow, self._watching)

    def _follow(self, watching: _Streams[Watch]) -> None:
        """First the state, then the stats, then what was missed, then everything that comes."""
        try:
            while not self._client.is_closing:
                try:
                    return self._follow_streams(watching)
                except RedisError as error:
                    _log.info("watching not begun, trying again", reason=str(error))
                    gevent.sleep(_STORE_PAUSE_SECONDS)
        except Gone:
            return None
        except Exception as error:  # noqa: BLE001 (nobody waits for this greenlet)
            self._fail(error)

    def _follow_streams(self, watching: _Streams[Watch]) -> None:
        feed, _, console = watching
        if self._subscriptions is None:
            feed.wait_live()
            console.wait_live(_CONSOLE_SECONDS)
            self._subscriptions = self._open_subscriptions(console)
        for hub, watch, subscription in zip(self._live.hubs, watching, self._subscriptions, strict=True):
            hub.follow(watch, subscription)

    def _open_subscriptions(self, console: Watch) -> _Streams[Subscription]:
        """Read where the client begins and tell it the state there, all in one go: asked again, nothing is repeated.

        Whatever is printed after that state was told reaches the client, since its console begins there too.
        """
        services, since = self._live.services, self._wish.since
        if since is not None and since > services.console.reach(self._container_id)[1]:
            since = None  # from a console that is no more; all there will be is new
        container, entry_id = services.containers.snapshot(self._container_id)
        place = (since, 0) if since is not None else console.place if console.wait_live(0) else None
        self._client.tell(state_message(container) if container else not_found_message(self._container_id))
        return (
            Subscription(self._outbox, feed_place(entry_id)),
            NewestOnly(self._outbox, START),
            Subscription(self._outbox, place, self._wish.duplicates),
        )

    def _fail(self, error: Exception) -> None:
        _log.error("socket handler failed", container_id=self._container_id, exc_info=error)
        self._client.close(INTERNAL_ERROR, "internal error")

    def _end(self) -> None:
        """Leave nothing behind: no greenlet, no subscription, no byte that could still go out."""
        self._live.registry.remove(self._client)
        if self._helper is not None:
            self._helper.kill()
        if self._watching is not None:
            self._leave(self._watching)
        self._socket.event.heard = None
        self._outbox.seal()
        self._outbox.wait_empty(_LAST_WRITE_SECONDS)
        self._outbox.linger(_LINGER_SECONDS)
        self._client.release()

    def _leave(self, watching: _Streams[Watch]) -> None:
        for watch, subscription in zip(watching, self._subscriptions or (), strict=False):
            watch.subscriptions.discard(subscription)
        for hub, watch in zip(self._live.hubs, watching, strict=True):
            hub.unwatch(watch)
