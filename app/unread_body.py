"""Getting rid of a body that nobody read, because the call was refused before.

gunicorn would read it after the answer in steps of 1 KiB: 100 MB cost 3 s in which no other request of the process
went on. Closing the connection instead would cut off a client that is still sending, before it reads its refusal.
That is done only to one that has an absurd rest to send, or takes too long.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import IO

import gevent
from flask import Flask, Response, request
from gunicorn.http.errors import ParseException

from fleet.request_body import give_up, missing_bytes

_STEP_BYTES = 256 * 1024
_PATIENCE_SECONDS = 3.0
_ABSURD_BYTES = 128 * 1024 * 1024


def init_unread_body(app: Flask) -> None:
    """Read away what is left of each request's body, before it is answered."""
    app.after_request(_read_away)


def _read_away(response: Response) -> Response:
    environ = request.environ
    if environ.get("CONTENT_LENGTH") or "HTTP_TRANSFER_ENCODING" in environ:
        # Who breaks off or sends nonsense gets the same answer; gunicorn closes the connection after it.
        with suppress(OSError, ParseException, OverflowError), gevent.Timeout(_PATIENCE_SECONDS, False):
            if missing_bytes(environ) < _ABSURD_BYTES:
                _discard(environ["wsgi.input"])
                return response
        give_up(environ)
    return response


def _discard(body: IO[bytes]) -> None:
    while body.read(_STEP_BYTES):
        # A sender that is fast never lets a read block; here the other greenlets get their turn.
        time.sleep(0)
