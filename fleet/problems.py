"""The one table from errors to HTTP, for both HTTP edges (the API and the hosts' files process).

A problem on the wire is `{"error": sentence, "code": stable_snake_case}`, with `"fields"` for a
validation error and, at the API, `"request_id"`.
"""

from __future__ import annotations

from typing import Any

from fleet.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    LightdError,
    NodeTimeout,
    NotFound,
    PathTraversal,
    QuotaExceeded,
    StillRunning,
    TooMany,
    Unavailable,
)

_STATUSES: list[tuple[type[LightdError], int]] = [
    (NodeTimeout, 504),
    (Unavailable, 503),
    (TooMany, 429),
    (QuotaExceeded, 413),
    (Conflict, 409),
    (NotFound, 404),
    (Forbidden, 403),
    (Invalid, 400),
]


def status_of(error: LightdError) -> int:
    """The HTTP status that tells a client what kind of error this is."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def body_of(error: LightdError) -> dict[str, Any]:
    """The JSON body for an error, without the request id."""
    body: dict[str, Any] = {"error": error.message, "code": error.code}
    if isinstance(error, Invalid) and error.fields:
        body["fields"] = error.fields
    return body


def headers_of(error: LightdError) -> dict[str, str]:
    """Headers that go with an error: when to try again."""
    if isinstance(error, StillRunning | TooMany | Unavailable):
        return {"Retry-After": str(error.retry_after_seconds)}
    return {}


def error_from(status: int, body: dict[str, Any]) -> LightdError:
    """The error that another edge put on the wire, to be raised again here."""
    code = str(body.get("code", "error"))
    message = str(body.get("error", f"The node answered with status {status}."))
    if code == PathTraversal.code:
        return PathTraversal()
    if code == AlreadyExists.code:
        return AlreadyExists(message)
    kind = next((kind for kind, known in _STATUSES if known == status), LightdError)
    if kind is Invalid:
        return Invalid(message, code=code, fields=body.get("fields"))
    return kind(message, code=code)
