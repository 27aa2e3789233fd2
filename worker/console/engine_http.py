"""Plain HTTP to the engine for what the SDK cannot do: long streams that can be waited for with select."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import urlsplit

from fleet.errors import EngineUnavailable


class EngineConnection(http.client.HTTPConnection):
    """One connection to the engine at `address` (`unix:///…` or `tcp://host:port`)."""

    def __init__(self, address: str, timeout_seconds: float) -> None:
        self._address = urlsplit(address)
        super().__init__(self._address.hostname or "localhost", self._address.port or 2375, timeout=timeout_seconds)

    def connect(self) -> None:
        """Connect over the Unix socket where the address names one."""
        if self._address.scheme != "unix":
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._address.path)


def open_stream(address: str, method: str, path: str, timeout_seconds: float) -> EngineConnection:
    """Send a request whose answer takes long; the caller closes the connection. Raises EngineUnavailable."""
    connection = EngineConnection(address, timeout_seconds)
    try:
        connection.request(method, path)
    except OSError as error:
        connection.close()
        raise unreachable(address) from error
    return connection


def get_json(address: str, path: str, timeout_seconds: float) -> Any:
    """The engine's answer to a short question; None when it knows no such thing. Raises EngineUnavailable."""
    connection = open_stream(address, "GET", path, timeout_seconds)
    try:
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise unreachable(address) from error
    finally:
        connection.close()
    if response.status == http.HTTPStatus.NOT_FOUND:
        return None
    if response.status != http.HTTPStatus.OK:
        raise EngineUnavailable(f"The Docker engine answered {response.status} to {path.partition('?')[0]}.")
    return json.loads(body)


def unreachable(address: str) -> EngineUnavailable:
    """The error for an engine that does not answer."""
    return EngineUnavailable(f"The Docker engine at {address} does not answer; is it running?")
