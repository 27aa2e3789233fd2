"""Who writes to the sockets of this process: one greenlet for all, because most writes never wait."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import gevent
import structlog
from gevent.event import Event

if TYPE_CHECKING:
    from app.sockets.outbox import Outbox

_log = structlog.get_logger()

_AT_ONCE = 32


class Flusher:
    """Writes out what the outboxes hold, each in its turn. An outbox whose peer is slow goes on by itself."""

    def __init__(self) -> None:
        self._due: deque[Outbox] = deque()
        self._wake = Event()
        self._idle = Event()
        self._idle.set()
        self._greenlet: gevent.Greenlet | None = None

    def schedule(self, outbox: Outbox) -> None:
        """Flush this outbox soon."""
        self._due.append(outbox)
        if self._idle.is_set():
            self._idle.clear()
            self._wake.set()
            if self._greenlet is None:
                self._greenlet = gevent.spawn(self._run)

    def wait_idle(self) -> None:
        """Wait until everything that is due was flushed: a producer that does so never outruns the writing."""
        self._idle.wait()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._due:
                for _ in range(min(_AT_ONCE, len(self._due))):
                    self._flush(self._due.popleft())
                gevent.sleep(0)
            self._idle.set()

    def _flush(self, outbox: Outbox) -> None:
        try:
            outbox.flush()
        except Exception as error:  # noqa: BLE001 (everybody else is still to be written to)
            _log.error("writing to a socket failed", exc_info=error)
            outbox.cut()
