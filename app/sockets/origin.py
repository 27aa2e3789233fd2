"""Which web pages may open a socket. Browsers send no CORS question before one, only the page's origin with it."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from flask import request

from app.client_address import asked_host
from fleet.errors import Forbidden

ANY = "*"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def require_origin(allowed: Iterable[str], trusted_proxies: Iterable[str]) -> None:
    """Raise Forbidden for a page of another host than the one it asks, unless it is allowed.

    Programs that are no browsers send no origin, and need none: nothing but the token lets anybody in.
    """
    origin = request.headers.get("Origin")
    if origin is None or is_allowed(origin, asked_host(request, trusted_proxies), allowed):
        return
    sentence = (
        f"Pages from {origin[:200]} may open no sockets here; the operator may name them in LIGHTD_SOCKET_ORIGINS."
    )
    raise Forbidden(sentence, code="origin_not_allowed")


def is_allowed(origin: str, host: str, allowed: Iterable[str]) -> bool:
    """Whether a page of this origin may ask this host, which proxies may have been asked for over TLS."""
    names = {name.lower().rstrip("/") for name in allowed}
    return ANY in names or origin.lower() in names or _is_same_host(origin, host)


def _is_same_host(origin: str, host: str) -> bool:
    try:
        page, asked = urlsplit(origin), urlsplit(f"//{host}")
        default = _DEFAULT_PORTS.get(page.scheme)
        return (
            default is not None
            and page.hostname is not None
            and (page.hostname, page.port or default) == (asked.hostname, asked.port or default)
        )
    except ValueError:
        return False
