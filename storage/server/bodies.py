"""The body of an upload as it comes, whole or refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from time import monotonic

from flask import request
from werkzeug.exceptions import HTTPException

from fleet.errors import Invalid
from fleet.request_body import body_pieces

_READ_ON_SECONDS = 5.0


def body_chunks() -> Iterator[bytes | memoryview]:
    """The body of the call, each piece good until the next is asked for; raises Invalid when it ends early."""
    missing = request.content_length
    try:
        for chunk in _pieces():
            missing = None if missing is None else missing - len(chunk)
            yield chunk
    except (OSError, HTTPException) as error:
        raise _cut_off() from error
    if missing:
        raise _cut_off()


def read_on() -> None:
    """Take in some more of a refused body: most clients listen for the answer only when they have sent all."""
    deadline = monotonic() + _READ_ON_SECONDS
    with suppress(OSError, HTTPException):
        if (connection := request.environ.get("gunicorn.socket")) is not None:
            connection.settimeout(_READ_ON_SECONDS)
        for _ in _pieces():
            if monotonic() > deadline:
                return


def _pieces() -> Iterator[bytes | memoryview]:
    return body_pieces(request.environ, request.stream)


def _cut_off() -> Invalid:
    return Invalid("The upload was cut off; nothing of it was kept.", code="cut_off")
