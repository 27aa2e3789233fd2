"""Tokens as JSON."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from app.containers.fields import InternalId
from app.fields import Flag, Lifetime, utc_text
from fleet.models import Token
from fleet.scopes import Scope

_MOST_CONTAINERS = 1000


class NewToken(Schema):
    """What a client asks of a new token."""

    ttl = Lifetime(
        longest="365d",
        required=True,
        attribute="ttl_seconds",
        metadata={"description": "Lifetime: a number and s, m, h or d; 1 s to 365 d.", "example": "1h"},
    )
    remove_on_use = Flag(load_default=False, metadata={"description": "Good for one request or one WebSocket."})
    scopes = fields.List(
        fields.String(validate=validate.OneOf([scope.value for scope in Scope])),
        validate=validate.Length(1),
        metadata={"description": "What it may do; all but making tokens unless given."},
    )
    containers = fields.List(
        InternalId(),
        validate=validate.Length(1, _MOST_CONTAINERS),
        metadata={"description": "The only containers it reaches, by `internal_id`; they need not exist yet."},
    )


class IssuedToken(Schema):
    """A new token; its secret is shown this once."""

    token = fields.String()
    expires_at = fields.String(metadata={"description": "RFC 3339, UTC."})
    id = fields.String()


class ListedToken(Schema):
    """A token without its secret."""

    id = fields.String()
    expires_at = fields.String()
    remove_on_use = fields.Boolean()
    scopes = fields.List(fields.String())
    containers = fields.List(
        fields.String(), allow_none=True, metadata={"description": "null for a token that reaches everything."}
    )


class TokenPage(Schema):
    """Tokens that are good now, the first to expire first."""

    tokens = fields.List(fields.Nested(ListedToken))
    next_cursor = fields.String()


def expiry_text(token: Token) -> str:
    """When a token ends, as RFC 3339 in UTC."""
    return utc_text(token.expires_at)


def listed_token(token: Token) -> dict[str, Any]:
    """A token as an item of the list."""
    return {
        "id": token.id,
        "expires_at": expiry_text(token),
        "remove_on_use": token.remove_on_use,
        "scopes": list(token.scopes or Scope),
        "containers": list(token.containers) or None,
    }
