"""A container's socket that comes back by itself: what was missed meanwhile follows, nothing is told twice."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import websocket

from scripts.failure import Failure

Event = dict[str, Any]

_SILENT_SECONDS = 60
"""The server pings every 25 s; one that says nothing for so long is gone."""

_CONNECT_SECONDS = 10
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 5.0
_TOKEN_ENDED = 4401
_BROKEN = (OSError, websocket.WebSocketException)


class Feed:
    """Events of one container. `run` passes each to `show`, until `close`; `send` may be called from other threads.

    `since` is the seq after which output is wanted: 0 for all that is kept, None for only what is new.
    """

    def __init__(
        self, url: str, token: str, container_id: str, since: int | None, show: Callable[[Event], None]
    ) -> None:
        self._address = url.rstrip("/")
        self._url = f"{self._address.replace('http', 'ws', 1)}/ws/{quote(container_id, safe='')}"
        self._header = [f"Authorization: Bearer {token}"]
        self._since = since
        self._show = show
        self._closing = threading.Event()
        self._was_connected = threading.Event()
        self._connection: websocket.WebSocket | None = None

    def run(self) -> None:
        """Follow until `close`. Raises Failure when the token is not good, or when there is no API at first.

        What `show` raises ends it too. It gets a `lost` event with a `reason` once for each outage.
        """
        pause_seconds, told = _FIRST_PAUSE_SECONDS, ""
        while not self._closing.is_set():
            reason = "Connection lost"
            try:
                connection = self._connect()
            except websocket.WebSocketBadStatusException as error:
                if error.status_code in (401, 403, 404):
                    raise Failure(_refusal(error.status_code)) from error
                reason = f"The API refuses the connection ({error.status_code})"
            except _BROKEN as error:
                if not self._was_connected.is_set():
                    raise Failure(f"No API answers at {self._address}; is it up?") from error
            else:
                pause_seconds, told = _FIRST_PAUSE_SECONDS, ""
                self._read(connection)
            if reason != told and not self._closing.is_set():
                self._show({"event": "lost", "reason": reason})
                told = reason
            self._closing.wait(pause_seconds)
            pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)

    def wait_connected(self) -> None:
        """Wait until there was a connection for the first time."""
        self._was_connected.wait()

    def send(self, event: Event) -> bool:
        """Send an event; False when there is no connection now: it is not sent later either."""
        connection = self._connection
        if connection is None:
            return False
        try:
            connection.send(json.dumps(event))
        except _BROKEN:
            return False
        return True

    def close(self) -> None:
        """End `run`; one that waits for a first answer takes a few seconds."""
        self._closing.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):  # the library's own close would wait for the thread that reads
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> websocket.WebSocket:
        url = self._url if self._since is None else f"{self._url}?since={self._since}"
        try:
            connection = websocket.create_connection(url, timeout=_CONNECT_SECONDS, header=self._header)
        except ValueError as error:
            raise Failure(f"{self._address} is no address of an API, such as http://localhost:8070.") from error
        connection.settimeout(_SILENT_SECONDS)
        return connection

    def _read(self, connection: websocket.WebSocket) -> None:
        """Pass on what comes until the connection ends. Raises Failure when the token has ended."""
        self._connection = connection
        self._was_connected.set()
        try:
            while (message := _next_message(connection)) is not None:
                self._take(json.loads(message))
        finally:
            self._connection = None
            if connection.sock is not None:
                connection.sock.close()

    def _take(self, event: Event) -> None:
        self._since = event.get("seq", self._since)
        self._show(event)


def _next_message(connection: websocket.WebSocket) -> bytes | None:
    """What comes next; None when the connection has ended. Raises Failure when the token has ended."""
    try:
        opcode, data = connection.recv_data()
    except _BROKEN:
        return None
    if opcode != websocket.ABNF.OPCODE_CLOSE:
        return bytes(data)
    if int.from_bytes(data[:2], "big") == _TOKEN_ENDED:
        raise Failure("The token is good no longer.")
    return None


def _refusal(status: int) -> str:
    if status == 401:
        return "The API does not know this token."
    if status == 403:
        return "This token may not watch that container."
    return "The address given is not that of a Lightd API."
