"""How errors leave: always `{"error", "code", "request_id"}`, for a validation error also `"fields"`.

The table from our errors to status and code is `fleet.problems`; here are those of HTTP itself and of the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from flask import Flask, Response, g, jsonify, request
from gunicorn.http.errors import ParseException
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from werkzeug.exceptions import HTTPException

from app.request_id import current_request_id
from fleet.errors import LightdError, Unavailable
from fleet.problems import body_of, headers_of, status_of

_log = structlog.get_logger()

_SENTENCES = {
    404: ("There is no such route.", "route_not_found"),
    405: ("This route does not take this method; see the Allow header.", "method_not_allowed"),
    413: ("The body is too large.", "body_too_large"),
    415: ("The body must be JSON, sent with Content-Type: application/json.", "unsupported_media_type"),
}


def init_errors(app: Flask) -> None:
    """Register the handlers for everything that may be raised."""
    app.register_error_handler(LightdError, _lightd_error)
    app.register_error_handler(RedisError, _store_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(ParseException, _broken_request)
    app.register_error_handler(Exception, _unexpected)


def problem(status: int, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says what went wrong."""
    response = jsonify({**body, "request_id": current_request_id()})
    response.status_code = status
    response.headers.update(headers or {})
    return response


def _lightd_error(error: LightdError) -> Response:
    status = status_of(error)
    if status >= 500:
        _log.warning("request failed", error=error.message, code=error.code, path=_logged_path())
    return problem(status, body_of(error), headers_of(error))


def _logged_path() -> str:
    """The path of the request, without a signed link's token."""
    return "/links/" if request.path.startswith("/links/") else request.path


def _store_error(error: RedisError) -> Response:
    if not _is_outage(error):
        return _unexpected(error)
    _log.warning("store failed", reason=str(error), path=_logged_path())
    g.in_doubt = True  # it may still do what it was asked
    return _lightd_error(Unavailable("The store cannot be reached; try again soon.", code="store_unavailable"))


def _is_outage(error: RedisError) -> bool:
    """A command that the store refuses is our own mistake, unless it is full or a replica."""
    return not isinstance(error, ResponseError) or isinstance(error, OutOfMemoryError | ReadOnlyError)


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    sentence, code = _SENTENCES.get(status, (f"{error.name}.", error.name.lower().replace(" ", "_")))
    headers = {name: value for name, value in error.get_headers() if name != "Content-Type"}
    return problem(status, {"error": sentence, "code": code}, headers)


def _broken_request(error: ParseException) -> Response:
    """A body whose chunks make no sense, as gunicorn finds out while it is read."""
    return problem(400, {"error": f"The body is not valid HTTP: {error}", "code": "malformed_body"})


def _unexpected(error: Exception) -> Response:
    _log.error("unexpected error", method=request.method, path=_logged_path(), exc_info=error)
    sentence = "Something went wrong inside Lightd; the log has more under this request id."
    return problem(500, {"error": sentence, "code": "internal"})
