"""How a socket is read: by the greenlet of its request, one message after the other.

simple-websocket would start a thread that reads ahead into an unbounded list while the handler is busy. These two
classes take the places of its thread and of its event: the request's own greenlet runs the reading, and each
message is handled before the next bytes are read. A client that sends faster than it is served waits in TCP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class ReadingLoop:
    """Takes the place of the library's thread: it runs when `run` is called."""

    def __init__(self, target: Callable[[], None]) -> None:
        self.name = ""
        self.run = target

    def start(self) -> None:
        """Nothing yet."""


class Arrival:
    """Takes the place of the library's event: calls `heard` whenever a message has come."""

    def __init__(self) -> None:
        self.heard: Callable[[], None] | None = None

    def set(self) -> None:
        """A message, or the end of the connection, has come."""
        if self.heard is not None:
            self.heard()

    def wait(self, timeout: float | None = None) -> bool:
        """Never waits: messages are handled as they come."""
        return timeout is None

    def clear(self) -> None:
        """Nothing to clear."""


def server_options(message_bytes: int) -> dict[str, Any]:
    """Options for flask-sock; pings are sent by the sweeper, one task for all sockets."""
    return {"max_message_size": message_bytes, "thread_class": ReadingLoop, "event_class": Arrival}
