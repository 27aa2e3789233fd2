"""Who may call: the API of the same fleet, by signature. And what is logged of a call: never its query."""

from __future__ import annotations

import logging
import re
import secrets
import time

from flask import Flask, Response, g, request

from fleet.request_body import bound_silence, give_up
from fleet.settings import Settings
from fleet.signing import check_call

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_UNSIGNED = frozenset({"/healthz"})
# These carry their own signature in the path, which is therefore not logged.
_LINKS = "/links/"
_log = logging.getLogger(__name__)


def guard_calls(app: Flask, settings: Settings) -> None:
    """Check every call's signature before anything looks at it, pass its request id on, log it."""
    key = settings.signing_key()

    @app.before_request
    def check_signature() -> None:
        g.started_at = time.monotonic()
        bound_silence(request.environ)
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if _SANE_REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        if request.path not in _UNSIGNED and not request.path.startswith(_LINKS):
            check_call(key, settings.node, request.method, sent_target(), request.headers.get("Authorization", ""))
            g.is_proven = True

    @app.after_request
    def log_call(response: Response) -> Response:
        if not g.get("is_proven") and _has_body():
            give_up(request.environ)  # gunicorn would read on for five seconds, in a thread, whoever it is
        response.headers["X-Request-ID"] = g.request_id
        took_ms = (time.monotonic() - g.started_at) * 1000
        level = logging.ERROR if response.status_code >= 500 else logging.DEBUG
        _log.log(
            level,
            "method=%s path=%r status=%d took_ms=%.1f request_id=%s",
            *(request.method, _logged_path(), response.status_code, took_ms, g.request_id),
        )
        return response


def _logged_path() -> str:
    return _LINKS if request.path.startswith(_LINKS) else request.path


def sent_target() -> str:
    """Path and query exactly as they stood in the request line."""
    sent = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or ""
    return str(sent)


def _has_body() -> bool:
    return bool(request.content_length) or "Transfer-Encoding" in request.headers
