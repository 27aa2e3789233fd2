"""Who may call: token first, then the vendor type, then what the token may do, for every route that is not public."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from flask import Flask, Response, current_app, g, request

from app.access import enforce
from app.client_address import client_address
from app.errors import problem
from app.services import services
from fleet.errors import Forbidden
from fleet.repositories.tokens import PREFIX, Principal

VENDOR_TYPE = "application/vnd.pkglatv1+json"

View = TypeVar("View", bound=Callable[..., Any])


def init_auth(app: Flask) -> None:
    """Check every request before its view runs."""
    app.before_request(_authenticate)


def public(view: View) -> View:
    """Mark a view that anybody may call, or that checks its caller itself."""
    view.is_public = True  # type: ignore[attr-defined]
    return view


def bearer_token() -> str | None:
    """The secret in the Authorization header of the current request, if there is one of ours."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    secret = secret.strip()
    return secret if scheme.lower() == "bearer" and secret.startswith(PREFIX) else None


def log_in(secret: str) -> Principal | None:
    """Whose token this is; None for nobody's. Raises TooMany for an address that failed too often."""
    return services().logins.log_in(secret, current_address())


def current_address() -> str:
    """Where the current request comes from."""
    return client_address(request, services().settings.trusted_proxies)


def unauthenticated() -> Response:
    """The answer to a caller without a good token."""
    body = {"error": "Missing or invalid authorization token", "code": "unauthenticated"}
    return problem(401, body, {"WWW-Authenticate": "Bearer"})


def _authenticate() -> Response | None:
    view = current_app.view_functions.get(request.endpoint or "")
    if getattr(view, "is_public", False):
        return None
    secret = bearer_token()
    principal = log_in(secret) if secret else None
    if principal is None:
        return unauthenticated()
    if not _accepts_vendor_type(request.headers.get("Accept", "")):
        raise Forbidden("Invalid vendor header", code="invalid_vendor_header")
    g.principal = principal
    structlog.contextvars.bind_contextvars(asked_by=principal.name)
    if view is not None:
        enforce(principal, view)
    return None


def _accepts_vendor_type(accept: str) -> bool:
    return any(part.partition(";")[0].strip() == VENDOR_TYPE for part in accept.lower().split(","))
