"""What every answer of the API looks like: the one that was hoped for, and the refusal."""

from __future__ import annotations

import re
from typing import Any

import requests

Answer = dict[str, Any]

TRAVERSAL = "Invalid path: path traversal detected"
_CODE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_ERROR_KEYS = {"error", "code", "request_id"}


def accepted(response: requests.Response, status: int = 200) -> Answer:
    """The body of an answer that must have this status and be a JSON object."""
    assert response.status_code == status, f"{response.request.method} {response.url}: {_told(response)}"
    assert response.headers["Content-Type"].startswith("application/json"), response.headers
    body: Answer = response.json()
    return body


def refused(response: requests.Response, status: int, message: str | None = None) -> Answer:
    """The body of a refusal, which must have the one shape of all errors and, when given, exactly this message."""
    body = accepted(response, status)
    assert body.keys() - {"fields"} == _ERROR_KEYS, body
    assert isinstance(body["error"], str), body
    assert body["error"].strip(), body
    assert _CODE.fullmatch(body["code"]), body
    assert body["request_id"] == response.headers["X-Request-ID"], body
    if message is not None:
        assert body["error"] == message
    return body


def refused_field(response: requests.Response, field: str) -> Answer:
    """The body of a `400` that says what is wrong with `field` (`limits.memory`)."""
    body = refused(response, 400)
    assert field in body.get("fields", {}), body
    messages = body["fields"][field]
    assert messages, body
    assert all(isinstance(message, str) and message for message in messages), body
    return body


def _told(response: requests.Response) -> str:
    return f"{response.status_code} {response.text[:2000]}"
