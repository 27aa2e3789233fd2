"""gunicorn's threads, where no client's connection keeps the others waiting."""

from __future__ import annotations

import socket
from contextlib import suppress

from gunicorn.util import close_graceful
from gunicorn.workers.gthread import TConn, ThreadWorker


class FilesWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """Waits for clients to close in the threads that served them.

    gunicorn itself does so, for up to two seconds each, in the one thread that hands out all calls.
    """

    def handle(self, conn: TConn) -> object:
        """Serve one request; answers what becomes of the connection, False when it is over."""
        outcome: object = super().handle(conn)
        if outcome is False:
            with suppress(OSError):
                close_graceful(conn.sock.dup())
                conn.sock.shutdown(socket.SHUT_RD)  # gunicorn, which closes it for good, finds nothing to wait for
        return outcome
