"""A container's socket that comes back by itself: what was missed meanwhile follows, nothing is told twice."""

from __future__ import annotations

import contextlib
import json
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
        self._url = f"{url.replace('http', 'ws', 1).rstrip('/')}/ws/{quote(container_id, safe='')}"
        self._header = [f"Authorization: Bearer {token}"]
        self._since = since
        self._show = show
        self._closing = threading.Event()
        self._connection: websocket.WebSocket | None = None

    def run(self) -> None:
        """Follow until `close`. Raises Failure when the token is not good, or when there is no API at first."""
        pause_seconds, connected_before = _FIRST_PAUSE_SECONDS, False
        while not self._closing.is_set():
            try:
                connection = self._connect()
            except websocket.WebSocketBadStatusException as error:
                if error.status_code in (401, 403, 404):
                    raise Failure(_refusal(error.status_code)) from error
            except _BROKEN as error:
                if not connected_before:
                    raise Failure(f"No API answers at {self._url.partition('/ws/')[0]}; is it up?") from error
            else:
                pause_seconds, connected_before = _FIRST_PAUSE_SECONDS, True
                self._read(connection)
            if not self._closing.is_set():
                self._show({"event": "lost"})
            self._closing.wait(pause_seconds)
            pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)

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
        """End `run`."""
        self._closing.set()
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(*_BROKEN):
                connection.close(timeout=1)

    def _connect(self) -> websocket.WebSocket:
        url = self._url if self._since is None else f"{self._url}?since={self._since}"
        connection = websocket.create_connection(url, timeout=_CONNECT_SECONDS, header=self._header)
        connection.settimeout(_SILENT_SECONDS)
        return connection

    def _read(self, connection: websocket.WebSocket) -> None:
        """Pass on what comes until the connection ends. Raises Failure when the token has ended."""
        self._connection = connection
        try:
            while True:
                opcode, data = connection.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    if int.from_bytes(data[:2], "big") == _TOKEN_ENDED:
                        raise Failure("The token is good no longer.")
                    return
                self._take(json.loads(data))
        except _BROKEN:
            return
        finally:
            self._connection = None
            if connection.sock is not None:
                connection.sock.close()

    def _take(self, event: Event) -> None:
        self._since = event.get("seq", self._since)
        self._show(event)


def _refusal(status: int) -> str:
    if status == 401:
        return "The API does not know this token."
    if status == 403:
        return "This token may not watch that container."
    return "The address given is not that of a Lightd API."
