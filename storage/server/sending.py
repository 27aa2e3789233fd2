"""A file on its way to a client, straight from the kernel."""

from __future__ import annotations

import io
import os
import socket
from contextlib import ExitStack, suppress

from flask import request

from storage.downloading import Part


class SentFile(io.FileIO):
    """A file of which one part is sent. `held` is let go of when it is closed.

    The answer's head has promised all of the part. Where the file turns out to be shorter by now, the connection ends,
    so that the client does not wait for the rest.
    """

    def __init__(self, fd: int, part: Part, held: ExitStack) -> None:
        super().__init__(fd, "rb")
        self._held = held
        self._connection: socket.socket | None = request.environ.get("gunicorn.socket")
        self._end = part.start + part.length
        self._reached = self._end if request.method == "HEAD" else super().seek(part.start)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As for any file. `socket.sendfile` tells in this way how far it came."""
        self._reached = super().seek(offset, whence)
        return self._reached

    def close(self) -> None:
        """Close it, once; and the connection, when not all of it was sent."""
        if self.closed:
            return
        super().close()
        self._held.close()
        if self._reached < self._end and self._connection is not None:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
