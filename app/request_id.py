"""The id of a request: the client's own if sane, else a new one. It is on every answer and in every log line."""

from __future__ import annotations

import re
import secrets

import structlog
from flask import Flask, Response, g, request

HEADER = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")


def init_request_id(app: Flask) -> None:
    """Give each request its id before anything else happens to it."""
    app.before_request(_begin)
    app.after_request(_end)


def current_request_id() -> str:
    """The id of the request that is being handled."""
    found: str = g.request_id
    return found


def _begin() -> None:
    sent = request.headers.get(HEADER, "")
    g.request_id = sent if _SANE.fullmatch(sent) else secrets.token_hex(8)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    return response
