"""How gunicorn runs the API: `gunicorn -c app/gunicorn_settings.py wsgi:app`.

gunicorn reads this file before it starts its workers; `app` itself must only be imported in them, after gevent
has patched the standard library.
"""

from __future__ import annotations

import json
import resource
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
from gunicorn.http import errors
from gunicorn.util import write_nonblock
from gunicorn.workers.ggevent import GeventWorker

from fleet.settings import read_settings

_settings = read_settings()

_REFUSALS = {
    errors.LimitRequestLine: (414, "URI Too Long", "The URL is too long.", "uri_too_long"),
    errors.LimitRequestHeaders: (431, "Headers Too Large", "The headers are too large.", "headers_too_large"),
    errors.ExpectationFailed: (417, "Expectation Failed", "This expectation cannot be met.", "expectation_failed"),
    errors.UnsupportedTransferCoding: (501, "Not Implemented", "This transfer coding is unknown.", "unknown_coding"),
    errors.ParseException: (400, "Bad Request", "This is not a valid HTTP request.", "malformed_request"),
}
_OWN_MISTAKE = (500, "Internal Server Error", "Something went wrong inside Lightd; its log has more.", "internal")


class Worker(GeventWorker):
    """gevent's worker, but requests that never reach the application are refused in the shape of all errors, and
    connections on which nobody asks for anything make room for others.

    Its log names no request: the URL of one may hold a token.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._open: set[gevent.Greenlet] = set()
        """Those that serve a connection which nobody has ended yet."""
        self._waiting: dict[gevent.Greenlet, Any] = {}
        """Those that have no complete head of a request, and their clients; the one that waits longest comes first."""

    def handle(self, listener: Any, client: Any, address: Any) -> None:
        """Serve a connection to its end."""
        connection = gevent.getcurrent()
        connection.client = client
        self._open.add(connection)
        try:
            super().handle(listener, client, address)
        finally:
            self._open.discard(connection)

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Entered for the whole head of each request: it must come in time, and sooner when others need the place."""
        connection = gevent.getcurrent()
        self._waiting[connection] = connection.client
        self._make_room()
        try:
            with super().timeout_ctx():
                yield
        finally:
            self._waiting.pop(connection, None)

    def _make_room(self) -> None:
        """With nine tenths of them in use, end the connection that waits longest, but not the one that just begins."""
        if len(self._open) > self.worker_connections * 9 // 10 and len(self._waiting) > 1:
            longest = next(iter(self._waiting))
            self._open.discard(longest)
            # It finds the client gone, but a request that has come in this very moment is answered. gevent's own
            # `shutdown` would raise an error in it instead.
            with suppress(OSError):
                self._waiting.pop(longest)._sock.shutdown(socket.SHUT_RD)

    def handle_error(self, _request: Any, client: Any, _address: Any, error: BaseException) -> None:
        """Tell the client why its request goes no further; the connection is closed then."""
        refusal = next((found for kind, found in _REFUSALS.items() if isinstance(error, kind)), _OWN_MISTAKE)
        request_id = secrets.token_hex(8)
        if refusal is _OWN_MISTAKE:
            self.log.error("unexpected error, request_id=%s", request_id, exc_info=error)
        else:
            self.log.info("request refused, request_id=%s: %s", request_id, type(error).__name__)
        with suppress(OSError):
            write_nonblock(client, _answer(refusal, request_id))


def _answer(refusal: tuple[int, str, str, str], request_id: str) -> bytes:
    status, reason, sentence, code = refusal
    body = json.dumps({"error": sentence, "code": code, "request_id": request_id})
    head = [
        f"HTTP/1.1 {status} {reason}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"X-Request-ID: {request_id}",
    ]
    return "\r\n".join([*head, "", body]).encode("ascii")


bind = [_settings.bind]
workers = _settings.api_workers
worker_class = Worker
# Every open WebSocket takes one of these, and at the limit even a plain GET would hang: the sockets have a limit
# of their own that refuses, and connections without a request make room.
worker_connections = _settings.socket_limit + 2000
# Each is an open file; a quarter is left for those that requests need besides.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
_open_files = max(_soft, min(_hard, worker_connections * 4 // 3))
resource.setrlimit(resource.RLIMIT_NOFILE, (_open_files, _hard))
worker_connections = min(worker_connections, _open_files * 3 // 4)
backlog = 2048
keepalive = 75
timeout = 30
graceful_timeout = 5
preload_app = False
max_requests = 0

# A path of 4 KB percent-encoded in the query; the longest gunicorn allows.
limit_request_line = 8190

# It would be one socket for all gunicorns of this user.
control_socket_disable = True

# The access log would hold the query, and the query may hold a token.
accesslog = None
errorlog = "-"
# At "debug" it logs every path, and the path of a signed link is a secret.
loglevel = {"debug": "info"}.get(_settings.log_level, _settings.log_level)


def post_worker_init(worker: Any) -> None:
    """Let SIGTERM close the WebSockets. Without that they are cut without a word when the time of grace is over."""
    from app.sockets import leave  # not before the worker exists

    def end() -> None:
        worker.alive = False
        leave(worker.wsgi)

    gevent.signal_handler(signal.SIGTERM, end)


def worker_int(worker: Any) -> None:
    """The same for Ctrl-C, which leaves no time of grace."""
    from app.sockets import leave

    leave(worker.wsgi)
