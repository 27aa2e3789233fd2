"""A WebSocket client that keeps every event it got."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import websocket

from tests.support.deadline import PATIENCE

Event = dict[str, Any]


class EventSocket:
    """One connection; a thread collects its events in `events`, in order. Use it in a `with`.

    `close_code` is what the server closed with, once it did.
    """

    def __init__(self, url: str, *, headers: list[str] | None = None, **options: Any) -> None:
        self.events: list[Event] = []
        self.close_code: int | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._connection = websocket.create_connection(url, timeout=10 * PATIENCE, header=headers or [], **options)
        self._connection.settimeout(None)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> EventSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, event: Event | str) -> None:
        """Send an event, or a text as it is."""
        self._connection.send(event if isinstance(event, str) else json.dumps(event))

    def wait_for(self, wanted: Callable[[Event], object], seconds: float = 10, *, start: int = 0) -> Event:
        """The first event from number `start` on that is `wanted`, seen already or to come."""
        deadline = time.monotonic() + seconds * PATIENCE
        with self._changed:
            while True:
                for event in self.events[start:]:
                    if wanted(event):
                        return event
                left = deadline - time.monotonic()
                if left <= 0 or self._ended:
                    raise AssertionError(f"The awaited event did not come; these came: {self.events[-20:]}")
                self._changed.wait(left)

    def wait_for_state(self, state: str, seconds: float = 10, *, start: int = 0) -> Event:
        """The state event `state` (`installing`, `running`, `exit`, …)."""
        return self.wait_for(lambda event: event["event"] == "event" and event["data"] == state, seconds, start=start)

    def wait_for_console(self, text: str, seconds: float = 10, *, start: int = 0) -> Event:
        """A console event that holds `text`."""
        return self.wait_for(lambda event: event["event"] == "console" and text in event["data"], seconds, start=start)

    def wait_closed(self, seconds: float = 10) -> int | None:
        """Wait until the server has closed the connection; its close code."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, seconds * PATIENCE):
                raise AssertionError("The server did not close the connection.")
        return self.close_code

    @property
    def has_ended(self) -> bool:
        """Whether nothing comes any more."""
        return self._ended

    def console_text(self) -> str:
        """All console output so far."""
        return "".join(event["data"] for event in self.events if event["event"] == "console")

    def states(self) -> list[str]:
        """All state events so far, in order."""
        return [event["data"] for event in self.events if event["event"] == "event"]

    def close(self) -> None:
        """Close the connection and keep what still came until the server closed too; more than once is harmless.

        Not with the library's `close`: it drops frames beside the thread that reads, so that some would be missing.
        """
        with contextlib.suppress(OSError, websocket.WebSocketException):
            if not self._ended:
                self._connection.send_close()
        self._reader.join(2)
        self._cut()
        self._reader.join(5)
        self._connection.shutdown()  # gives the descriptor back

    def _cut(self) -> None:
        """Wake a reader that still waits."""
        with contextlib.suppress(OSError):
            if self._connection.sock:
                self._connection.sock.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        try:
            while True:
                try:
                    opcode, data = self._connection.recv_data()
                except ValueError:  # `close` took the descriptor away while this waited for it
                    break
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    self.close_code = int.from_bytes(data[:2], "big") if len(data) >= 2 else None
                    break
                self._keep(json.loads(data))
        except (OSError, websocket.WebSocketException):
            pass  # the connection is gone: whoever waits is told so below
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _keep(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()
