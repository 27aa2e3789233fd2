"""Tokens as JSON."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load

from app.fields import Flag, Text
from fleet.models import Token

_TTL = re.compile(r"([0-9]{1,9})([smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_SECONDS = 365 * 86400


class NewToken(Schema):
    """What a client asks of a new token."""

    ttl = Text(
        required=True, metadata={"description": "Lifetime: a number and s, m, h or d; 1 s to 365 d.", "example": "1h"}
    )
    remove_on_use = Flag(load_default=False, metadata={"description": "Good for one request or one WebSocket."})

    @post_load
    def _seconds(self, values: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**values, "ttl_seconds": _ttl_seconds(values.pop("ttl"))}


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


class TokenPage(Schema):
    """Tokens that are good now, the first to expire first."""

    tokens = fields.List(fields.Nested(ListedToken))
    next_cursor = fields.String()


def expiry_text(token: Token) -> str:
    """When a token ends, as RFC 3339 in UTC."""
    return datetime.fromtimestamp(token.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def listed_token(token: Token) -> dict[str, Any]:
    """A token as an item of the list."""
    return {"id": token.id, "expires_at": expiry_text(token), "remove_on_use": token.remove_on_use}


def _ttl_seconds(text: str) -> int:
    match = _TTL.fullmatch(text)
    seconds = int(match[1]) * _UNIT_SECONDS[match[2]] if match else 0
    if not 1 <= seconds <= _LONGEST_SECONDS:
        raise ValidationError("Must be a number and s, m, h or d, from 1s to 365d.", "ttl")
    return seconds
