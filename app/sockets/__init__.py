"""WebSockets: a container's output and state as they happen, to any number of watchers (contract, section 8)."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Blueprint, Flask, Response, g, request
from flask_sock import Sock
from werkzeug.routing import WebsocketMismatch
from wsproto.utilities import RemoteProtocolError

from app.auth import current_address, public, unauthenticated
from app.errors import problem
from app.services import Services
from app.sockets.flusher import Flusher
from app.sockets.handshake import Unauthenticated, principal_of_handshake, wish_of_handshake
from app.sockets.hub import Hub
from app.sockets.live import Live
from app.sockets.origin import require_origin
from app.sockets.outbox import Outbox
from app.sockets.permissions import require_watching
from app.sockets.places import Place, Places, SocketLimits
from app.sockets.reading import server_options
from app.sockets.registry import Registry
from app.sockets.roster import Roster
from app.sockets.session import Session
from app.sockets.sources import ConsoleSource, FeedSource, StatsSource
from app.sockets.sweeper import Sweeper
from fleet.repositories.sockets import SocketCounts

_EXTENSION = "lightd.sockets"
_SOCKET = "gunicorn.socket"
_OFFERS = ("HTTP_SEC_WEBSOCKET_EXTENSIONS", "HTTP_SEC_WEBSOCKET_PROTOCOL")


def init_sockets(app: Flask) -> None:
    """Add `/ws` and `/ws/<internal_id>`; nothing is connected before a client comes. Needs `make_services` first."""
    shared: Services = app.extensions["lightd"]
    settings = shared.settings
    flusher = Flusher()
    consoles = Hub(ConsoleSource(shared.console), settings.stream_address, flusher)
    feeds = Hub(FeedSource(shared.containers), settings.store_address, flusher, on_removed=consoles.restart)
    stats = Hub(StatsSource(shared.stats, shared.containers), settings.stream_address, flusher)
    limits = SocketLimits(settings.socket_limit, settings.sockets_per_container, settings.sockets_per_token)
    places = Places(SocketCounts(shared.stores.record, secrets.token_hex(8)), limits)
    live = Live(shared, Registry(), places, feeds, consoles, stats, Roster(shared.containers.names))
    sweeper = Sweeper(
        live.registry,
        places,
        shared.tokens,
        lambda: max(feeds.silent_seconds(), consoles.silent_seconds()),
        settings.socket_store_seconds,
    )
    app.extensions[_EXTENSION] = live
    app.config["SOCK_SERVER_OPTIONS"] = server_options(settings.socket_message_bytes)
    app.register_error_handler(RemoteProtocolError, _bad_handshake)
    app.register_error_handler(WebsocketMismatch, _no_handshake)
    app.register_error_handler(Unauthenticated, lambda _error: unauthenticated())
    app.register_blueprint(_blueprint(live, sweeper, flusher))


def leave(app: Flask) -> None:
    """Close all sockets of this process with 1001 and take no more: it is about to end."""
    live: Live = app.extensions[_EXTENSION]
    live.registry.leave()
    live.places.leave()


def _blueprint(live: Live, sweeper: Sweeper, flusher: Flusher) -> Blueprint:
    blueprint = Blueprint("sockets", __name__)
    sock = Sock()

    @blueprint.before_request
    def before_upgrade() -> None:
        settings, container_id = live.services.settings, (request.view_args or {}).get("internal_id")
        require_origin(settings.socket_origins, settings.trusted_proxies)
        g.wish = wish_of_handshake()
        g.address = current_address()
        live.places.check_room(container_id)
        # Last, since it may use up a token.
        g.principal = principal_of_handshake()
        if g.principal is not None:
            require_watching(g.principal, container_id)
        g.place = live.places.take(container_id, g.principal)
        _prepare(request.environ, flusher, settings.socket_backlog_bytes)

    @blueprint.teardown_request
    def give_place_back(_error: BaseException | None) -> None:
        """For a handshake that became no socket; a session has done it by now."""
        place: Place | None = g.pop("place", None)
        if place is not None:
            place.give_back()

    @sock.route("/ws", bp=blueprint)
    @public  # before_upgrade checks its caller
    def watch_containers(socket: Any) -> None:
        sweeper.begin()
        Session(live, socket, None, g.wish, g.principal, g.place, g.address).run()

    @sock.route("/ws/<internal_id>", bp=blueprint)
    @public  # before_upgrade checks its caller
    def watch_container(socket: Any, internal_id: str) -> None:
        sweeper.begin()
        Session(live, socket, internal_id, g.wish, g.principal, g.place, g.address).run()

    return blueprint


def _prepare(environ: dict[str, Any], flusher: Flusher, backlog_bytes: int) -> None:
    """Put an outbox before the socket, and take up no offer: compression would cost each client a decompressor."""
    environ[_SOCKET] = Outbox(environ[_SOCKET], flusher, backlog_bytes)
    for header in _OFFERS:
        environ.pop(header, None)


def _bad_handshake(error: RemoteProtocolError) -> Response:
    return problem(400, {"error": f"This is not a WebSocket handshake: {error}", "code": "bad_handshake"})


def _no_handshake(_error: WebsocketMismatch) -> Response:
    return problem(400, {"error": "This is a WebSocket: connect to it with ws:// or wss://.", "code": "bad_handshake"})
