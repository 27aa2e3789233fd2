"""gunicorn's threads, where no client's connection keeps the others waiting."""

from __future__ import annotations

import selectors
import socket
import time
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.util import close_graceful
from gunicorn.workers.gthread import TConn, ThreadWorker

_HEAD_SECONDS = 10
# Far more than gunicorn takes for a request line and sane headers.
_LONGEST_HEAD_BYTES = 64 * 1024
_HEAD_END = b"\r\n\r\n"
# How long clients have to take in the answer and close: as gunicorn itself gives them, and those nobody waits for.
_CLOSING_SECONDS, _GIVEN_UP_SECONDS = 2.0, 0.5


class FilesWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """Gives a connection a thread once the whole head of a request is there, and waits for clients to close in the
    threads that served them.

    gunicorn itself waits for the first byte of a request for five seconds, and for each further byte of its head for
    ever, in a thread; and for clients to close, for up to two seconds each, in the one thread that hands out all calls.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._heads: dict[TConn, float] = {}
        """Connections that wait for the rest of a request's head, each with the time at which it must be complete."""

    def enqueue_req(self, conn: TConn) -> None:
        """Hand a connection to a thread, or wait for more of its next request. Runs in the thread that hands out."""
        self._look_at(conn, time.monotonic() + _HEAD_SECONDS, 0)

    def _look_at(self, conn: TConn, deadline: float, seen_bytes: int) -> None:
        """Decide about a connection of whose next head `seen_bytes` had come before; 0 also when it is new."""
        ahead = conn.parser.unreader.buf.getvalue() if conn.parser else b""
        conn.sock.setblocking(False)
        come = _peek(conn.sock)
        if _HEAD_END in ahead + (come or b"") or (come and conn.sock.family == socket.AF_UNIX):
            _wake_beyond(conn.sock, 0)
            conn.data_ready = True
            super().enqueue_req(conn)
        elif come is None or seen_bytes < len(come) < _LONGEST_HEAD_BYTES:
            self._heads[conn] = deadline
            _wake_beyond(conn.sock, len(come or b""))
            look = partial(self._look_again, conn, len(come or b""))
            self.poller.register(conn.sock, selectors.EVENT_READ, look)
        else:  # the client has ended it, or there is no end to it
            self._drop(conn)

    def _look_again(self, conn: TConn, seen_bytes: int, client: socket.socket) -> None:
        self.poller.unregister(client)
        self._look_at(conn, self._heads.pop(conn), seen_bytes)

    def _drop(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()

    def handle(self, conn: TConn) -> object:
        """Serve one request; answers what becomes of the connection, False when it is over."""
        outcome: object = super().handle(conn)
        if outcome is False:
            with suppress(OSError):
                close_graceful(conn.sock.dup(), _GIVEN_UP_SECONDS if _is_given_up(conn) else _CLOSING_SECONDS)
                conn.sock.shutdown(socket.SHUT_RD)  # gunicorn, which closes it for good, finds nothing to wait for
        return outcome

    def murder_pending(self) -> None:
        """End what waits for too long, or at all once this process stops; called every second."""
        super().murder_pending()
        now = time.monotonic()
        for conn, deadline in list(self._heads.items()):
            if deadline < now or not self.alive:
                del self._heads[conn]
                self.poller.unregister(conn.sock)
                self._drop(conn)


def _peek(connection: socket.socket) -> bytes | None:
    """What has come over a socket that does not block, and was not read yet: None for nothing, no bytes at the end."""
    try:
        return connection.recv(_LONGEST_HEAD_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _wake_beyond(connection: socket.socket, size_bytes: int) -> None:
    """Have a TCP socket count as readable only when more than this has come, or its end.

    A Unix socket knows nothing like it, but only the API can open that.
    """
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size_bytes + 1)


def _is_given_up(conn: TConn) -> bool:
    """Whether nobody shall wait for the rest of the last request's body (`fleet.request_body.give_up`)."""
    message = getattr(conn.parser, "mesg", None)
    return bool(getattr(getattr(message, "body", None), "failed", False))
