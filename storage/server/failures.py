"""Errors as the one problem shape of `fleet.problems`."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, Response, g, jsonify
from werkzeug.exceptions import HTTPException

from fleet.errors import LightdError, Unavailable
from fleet.problems import body_of, headers_of, status_of

_log = logging.getLogger(__name__)
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}


def install(app: Flask) -> None:
    """Answer every error with JSON; only what nobody foresaw becomes a 500, without internals."""

    @app.errorhandler(LightdError)
    def known(error: LightdError) -> tuple[Response, int, dict[str, str]]:
        if isinstance(error, Unavailable):
            _log.warning("unavailable: %s request_id=%s", error.message, g.request_id)
        return _problem(body_of(error)), status_of(error), headers_of(error)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> tuple[Response, int]:
        status = error.code or 500
        code = _CODES.get(status, "invalid" if status < 500 else "internal_error")
        return _problem({"error": error.description or error.name, "code": code}), status

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> tuple[Response, int]:
        _log.exception("unforeseen error, request_id=%s", g.get("request_id", ""), exc_info=error)
        return _problem({"error": "Something went wrong on this host.", "code": "internal_error"}), 500


def _problem(body: dict[str, Any]) -> Response:
    return jsonify({**body, "request_id": g.get("request_id", "")})
