"""gunicorn's threads, where no client's connection keeps the others waiting."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any

from gunicorn.util import close_graceful
from gunicorn.workers.gthread import TConn, ThreadWorker

_HEAD_SECONDS = 10
# How long clients have to take in the answer and close: as gunicorn itself gives them, and those nobody waits for.
_CLOSING_SECONDS, _GIVEN_UP_SECONDS = 2.0, 0.5


class FilesWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """Bounds the time in which a request's head must have come, and waits for clients to close in the threads that
    served them.

    gunicorn itself waits for each byte of a head for ever, in a thread; and for clients to close, for up to two
    seconds each, in the one thread that hands out all calls.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._heads: dict[TConn, float] = {}
        """Connections whose request's head a thread is reading, each with the time at which it must be complete."""

    def handle(self, conn: TConn) -> object:
        """Serve one request; answers what becomes of the connection, False when it is over."""
        self._heads[conn] = time.monotonic() + _HEAD_SECONDS
        try:
            outcome: object = super().handle(conn)
        finally:
            self._heads.pop(conn, None)
        if outcome is False:
            with suppress(OSError):
                close_graceful(conn.sock.dup(), _GIVEN_UP_SECONDS if _is_given_up(conn) else _CLOSING_SECONDS)
                conn.sock.shutdown(socket.SHUT_RD)  # gunicorn, which closes it for good, finds nothing to wait for
        return outcome

    def handle_request(self, req: Any, conn: TConn) -> object:
        """Serve a request whose head is complete, unless that came too late."""
        in_time = self._heads.pop(conn, None) is not None
        return super().handle_request(req, conn) if in_time else False

    def murder_pending(self) -> None:
        """End what waits for too long; the thread that hands out calls does so every second.

        Who takes a connection out of `_heads` decides about it, this thread or the one that reads.
        """
        super().murder_pending()
        now = time.monotonic()
        for conn, deadline in list(self._heads.items()):
            if deadline < now and self._heads.pop(conn, None) is not None:
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RDWR)


def _is_given_up(conn: TConn) -> bool:
    """Whether nobody shall wait for the rest of the last request's body (`fleet.request_body.give_up`)."""
    message = getattr(conn.parser, "mesg", None)
    return bool(getattr(getattr(message, "body", None), "failed", False))
