"""One pub/sub connection: subscribes while another greenlet reads, and notices when its store is silent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from gevent.lock import BoundedSemaphore
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import TimeoutError as StoreTimeout

from fleet.store import subscriber

_QUIET_SECONDS = 5
_CHANNELS_AT_ONCE = 500


class Subscriber:
    """A connected store. `heard_at` is when it last said anything (monotonic seconds)."""

    def __init__(self, url: str) -> None:
        self._connection = subscriber(url)
        self._connection.connect()
        self._sending = BoundedSemaphore(1)
        self.heard_at = time.monotonic()

    def subscribe(self, channels: Sequence[str]) -> None:
        """Ask for channels; each is confirmed among the replies."""
        self._command("SUBSCRIBE", channels)

    def unsubscribe(self, channels: Sequence[str]) -> None:
        """Ask for channels no more."""
        self._command("UNSUBSCRIBE", channels)

    def replies(self) -> Iterator[list[bytes]]:
        """`[kind, channel, payload]` as they come, for ever. Raises RedisError when the store is gone or silent."""
        asked = False
        while True:
            try:
                reply = self._connection.read_response(timeout=_QUIET_SECONDS, disconnect_on_error=False)
            except StoreTimeout:
                if asked:
                    raise
                self._send("PING")
                asked = True
                continue
            asked = False
            self.heard_at = time.monotonic()
            if isinstance(reply, list):
                yield reply

    def close(self) -> None:
        """End the connection."""
        self._connection.disconnect()

    def _command(self, name: str, channels: Sequence[str]) -> None:
        for first in range(0, len(channels), _CHANNELS_AT_ONCE):
            self._send(name, *channels[first : first + _CHANNELS_AT_ONCE])

    def _send(self, *command: str) -> None:
        """One command at a time; an ended connection is not opened again behind its reader's back."""
        with self._sending:
            if not self._connection.is_connected:
                raise StoreConnectionError("The connection has ended.")
            self._connection.send_command(*command, check_health=False)
