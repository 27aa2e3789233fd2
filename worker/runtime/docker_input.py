"""Writing to a container's terminal through an attach that carries input only."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from docker import APIClient

_DETACH_KEYS = "ctrl-^,ctrl-],ctrl-_,ctrl-@"
"""Nobody types these in this order; the engine's own default would let Ctrl-P Ctrl-Q end the attach."""

_WRITE_SECONDS = 5


def write_input(client: APIClient, engine_id: str, data: bytes) -> None:
    """Write all of `data`, then hang up; the terminal stays open."""
    parameters: Any = {"stdin": 1, "stream": 1, "stdout": 0, "stderr": 0, "detachKeys": _DETACH_KEYS}
    stream: Any = client.attach_socket(engine_id, params=parameters)
    connection: socket.socket = getattr(stream, "_sock", stream)
    with contextlib.closing(stream), contextlib.closing(connection):
        connection.settimeout(_WRITE_SECONDS)
        connection.sendall(data)
