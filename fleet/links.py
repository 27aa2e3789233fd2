"""Signed links: a URL that proves by itself that its bearer may download or upload one path until it expires."""

from __future__ import annotations

import time
from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeSerializer

from fleet.errors import Forbidden
from fleet.repositories.tokens import TokenRepository

_SALT = "lightd.files.link"
ACTIONS = ("download", "upload")
PAGE_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, PUT",
    "Access-Control-Allow-Headers": "Content-Type, If-Range, Range, X-Request-ID",
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, "
    "Retry-After, X-Request-ID",
    "Access-Control-Max-Age": "7200",
}
"""What lets the pages of every origin use links: they prove all by themselves, and no cookie counts (the Fetch
standard's CORS protocol)."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a link allows: `action` is `download` or `upload`; `expires_at` is in Unix seconds.

    `issuer` is the id of the token that made it and must not be revoked; empty for the master token.
    """

    node: str
    volume_id: str
    path: str
    action: str
    expires_at: int
    issuer: str = ""


def sign_link(key: str, link: Link) -> str:
    """The token that stands in the link's URL."""
    fields = [link.node, link.volume_id, link.path, link.action, link.expires_at, link.issuer]
    return str(_serializer(key).dumps(fields))


def read_link(key: str, action: str, token: str) -> Link:
    """What a token allows, on whichever node; raises Forbidden when it is forged, expired or for another action."""
    try:
        link = Link(*_serializer(key).loads(token))
    except (BadSignature, TypeError) as error:
        raise Forbidden("This link is not valid.", code="bad_link") from error
    if link.action != action:
        raise _something_else()
    if link.expires_at < time.time():
        raise Forbidden("This link has expired.", code="link_expired")
    return link


def check_link(key: str, node: str, action: str, token: str) -> Link:
    """What a token of this node allows; raises Forbidden when it is forged, expired or for something else."""
    link = read_link(key, action, token)
    if link.node != node:
        raise _something_else()
    return link


def check_issuer(link: Link, tokens: TokenRepository) -> None:
    """Raise Forbidden when the token that made a link was revoked."""
    if link.issuer and not tokens.is_issued(link.issuer):
        raise Forbidden("The token that made this link was revoked.", code="link_revoked")


def _something_else() -> Forbidden:
    return Forbidden("This link is for something else.", code="bad_link")


def _serializer(key: str) -> URLSafeSerializer:
    return URLSafeSerializer(key, salt=_SALT)
