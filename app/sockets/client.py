"""One connected client, as everything that has to tell it something sees it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import gevent

from app.sockets.frames import PING, close_frame, text_frame
from app.sockets.outbox import Gone, Outbox
from fleet import messages
from fleet.repositories.tokens import Principal

GOING_AWAY = 1001
INTERNAL_ERROR = 1011
TRY_AGAIN = 1013
UNAUTHENTICATED = 4401
FORBIDDEN = 4403
TOO_SLOW = 4408
STORE_GONE = 4503

PING_SECONDS = 25
_FAREWELL_SECONDS = 10
_TOO_SLOW_TEXT = "This client reads too slowly and was left behind; connect again with ?since= to catch up."


class Client:
    """A WebSocket connection, to one container unless `container_id` is None.

    `principal` is None until the client has authenticated.
    """

    __slots__ = (
        "_cut_timer",
        "_ping_at",
        "_socket",
        "container_id",
        "is_closing",
        "outbox",
        "principal",
        "token_ended",
    )

    def __init__(
        self, socket: Any, outbox: Outbox, container_id: str | None, principal: Principal | None, now: float
    ) -> None:
        self._socket = socket
        self.outbox = outbox
        self.container_id = container_id
        self.principal = principal
        self.is_closing = False
        self.token_ended = False
        self._cut_timer: gevent.Greenlet | None = None
        self._ping_at = now + PING_SECONDS
        outbox.on_overflow = self._overflowed

    def tell(self, message: str) -> None:
        """Send one message, a JSON text."""
        self.outbox.put(text_frame(message))

    def answer(self, message: str) -> None:
        """Send what the client asked for, once it has read most of what came before; may be large."""
        with suppress(Gone):
            self.outbox.wait_room()
            self.tell(message)

    def error(self, sentence: str) -> None:
        """Say what went wrong."""
        self.tell(messages.error(sentence))

    def close(self, code: int, reason: str, *, within_seconds: float = _FAREWELL_SECONDS) -> None:
        """Send what waits, then close; cut the connection when the peer does not take it in time."""
        self.token_ended = self.token_ended or code == UNAUTHENTICATED
        self._end(close_frame(code, reason), within_seconds=within_seconds)

    def keep_alive(self, now: float) -> None:
        """Ping when it is time; cut the connection of a peer that has not answered the last ping."""
        if now < self._ping_at or self.is_closing:
            return
        if not self._socket.pong_received and not self.outbox.is_busy:
            self.outbox.cut()
            return
        self._ping_at = now + PING_SECONDS
        if not self.outbox.is_busy:
            # A peer that is being written to shows its life by reading.
            self._socket.pong_received = False
            self.outbox.put(PING)

    def release(self) -> None:
        """The connection is over; let go of its timer and its writer."""
        if self._cut_timer is not None:
            self._cut_timer.kill(block=False)
        self.outbox.on_overflow = None
        self.outbox.release()

    def _overflowed(self) -> None:
        last = text_frame(messages.error(_TOO_SLOW_TEXT))
        self._end(last, close_frame(TOO_SLOW, "too slow"), drop_waiting=True)

    def _end(self, *frames: bytes, drop_waiting: bool = False, within_seconds: float = _FAREWELL_SECONDS) -> None:
        if self.is_closing:
            return
        self.is_closing = True
        self.outbox.seal(*frames, drop_waiting=drop_waiting)
        self._cut_timer = gevent.spawn_later(within_seconds, self.outbox.cut)
