"""What is checked before a connection becomes a WebSocket: the token, the wishes in the URL, the room."""

from __future__ import annotations

from flask import request

from app.auth import bearer_token, log_in
from app.sockets.following import Wish
from fleet.errors import Invalid
from fleet.repositories.tokens import Principal

_LARGEST_SEQ = 2**63 - 1


class Unauthenticated(Exception):
    """The handshake brought a token that is not good."""


def principal_of_handshake() -> Principal | None:
    """Whose token the handshake brought; None when it brought none, which the first message may do yet.

    A single-use token is consumed. Raises Unauthenticated, TooMany.
    """
    if "token" in request.args:
        secret: str | None = request.args["token"]
    elif "Authorization" in request.headers:
        secret = bearer_token()
    else:
        return None
    principal = log_in(secret) if secret else None
    if principal is None:
        raise Unauthenticated
    return principal


def wish_of_handshake() -> Wish:
    """What the URL asks for; raises Invalid."""
    return Wish(_since(request.args.get("since")), request.args.get("duplicate") in ("1", "true"))


def _since(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= _LARGEST_SEQ):
        raise Invalid("?since= must be the seq of a console event.", fields={"since": ["Not a seq."]})
    return int(text[:20])
