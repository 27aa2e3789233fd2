"""Requests that no well-behaved client sends, byte by byte."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RawAnswer:
    """What the server said, and how many bytes of the body it had been sent by then."""

    status: int
    headers: dict[str, str]
    body: bytes
    sent_bytes: int

    def json(self) -> Any:
        return json.loads(self.body)


def send(address: str, head: str, body: Iterable[bytes] = (), *, seconds: float = 30) -> RawAnswer:
    """Send `head` (without its last empty line) and then `body`, as long as the server has not answered."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n")
        sent_bytes = 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it had heard enough: its answer follows
            for piece in body:
                if select.select([connection], [], [], 0)[0]:
                    break
                connection.sendall(piece)
                sent_bytes += len(piece)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return RawAnswer(answer.status, dict(answer.getheaders()), answer.read(), sent_bytes)


def chunked(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """The same pieces as chunks of a body without `Content-Length`."""
    for piece in pieces:
        yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    yield b"0\r\n\r\n"
