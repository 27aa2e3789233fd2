"""The body of a request as gunicorn hands it over, with as little copying as can be: for both HTTP edges.

Nothing of gunicorn is imported; what is known here is how its `wsgi.input` looks for a body of known length.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import IO, Any

from fleet.errors import Invalid

_PIECE_BYTES = 256 * 1024
# As long as the API waits for a silent files process.
_SILENCE_SECONDS = 120


def body_pieces(environ: Mapping[str, Any], stream: IO[bytes]) -> Iterator[bytes | memoryview]:
    """The body in pieces as they come, each good until the next is asked for; it may end early.

    `stream` is read where the connection itself cannot be: a body of unknown length, another server than gunicorn.
    """
    reader = getattr(environ["wsgi.input"], "reader", None)
    if hasattr(reader, "length") and hasattr(reader, "unreader"):
        yield from _received(reader, environ["gunicorn.socket"])
        return
    while piece := stream.read(_PIECE_BYTES):
        yield piece


def check_whole(environ: Mapping[str, Any]) -> None:
    """Raise Invalid for a part of a file, which would else be taken for all of it (RFC 9110, section 14.5)."""
    if "HTTP_CONTENT_RANGE" in environ:
        raise Invalid("An upload is the whole file: send it without a Content-Range header.", code="partial_upload")


def bound_silence(environ: Mapping[str, Any]) -> None:
    """Let a client that neither sends nor takes anything for two minutes lose its connection, not hold it for ever."""
    connection = environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(_SILENCE_SECONDS)


def missing_bytes(environ: Mapping[str, Any]) -> int:
    """How much of a body of known length was not read yet, 0 for others; all of it where no gunicorn counts."""
    reader = getattr(environ["wsgi.input"], "reader", None)
    return int(getattr(reader, "length", environ.get("CONTENT_LENGTH") or 0))


def give_up(environ: Mapping[str, Any]) -> None:
    """Have gunicorn close the connection after the answer, without waiting for what has not come of the body.

    It does so to a client in whose body it lost its place, which is what `failed` says. A `Connection` header of an
    answer it ignores.
    """
    body = environ["wsgi.input"]
    if hasattr(body, "failed"):
        body.failed = True


def _received(reader: Any, connection: socket.socket) -> Iterator[bytes | memoryview]:
    """The rest of a body of known length, straight from the connection.

    gunicorn's own way takes 8 KB at a time and copies each byte several times through fresh memory, which halves the
    speed of an upload.
    """
    ahead = reader.unreader.take_buffered()
    first = ahead[: reader.length]
    reader.unreader.unread(ahead[len(first) :])
    reader.length -= len(first)
    if first:
        yield first
    buffer = memoryview(bytearray(_PIECE_BYTES))
    while reader.length and (count := connection.recv_into(buffer[: reader.length])):
        reader.length -= count
        yield buffer[:count]
