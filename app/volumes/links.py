"""Signed links: one path, one action, until they expire, for whoever holds the URL; no header is needed."""

from __future__ import annotations

import time
from typing import Any

from flask import Response, request
from marshmallow import Schema, fields, validate

from app.access import Reach, caller, needs
from app.auth import public
from app.client_address import asked_address
from app.fields import Lifetime, utc_text
from app.json_body import Blueprint
from app.services import services
from app.volumes.schemas import BYTES, RAW_BODY, FolderPath, Uploaded
from app.volumes.streaming import pass_download, pass_upload
from fleet.links import ACTIONS, PAGE_HEADERS, Link, read_link, sign_link
from fleet.models import Node, Volume
from fleet.paths import path_bytes
from fleet.scopes import Scope

blueprint = Blueprint("links", __name__, description="URLs that need no header and are good for one path and action.")

_PASSED_ON = ("format", "overwrite")


class NewLink(Schema):
    """What a link shall be good for."""

    path = FolderPath(required=True)
    action = fields.String(required=True, validate=validate.OneOf(ACTIONS))
    ttl = Lifetime(
        longest="7d",
        load_default=3600,
        attribute="ttl_seconds",
        metadata={"description": "Lifetime: a number and s, m, h or d; 1 s to 7 d, 1 h unless given."},
    )


class IssuedLink(Schema):
    """A new link."""

    url = fields.String()
    expires_at = fields.String(metadata={"description": "RFC 3339, UTC."})


@blueprint.route("/volumes/<volume_id>/links", methods=["POST"])
@blueprint.arguments(NewLink)
@blueprint.response(200, IssuedLink)
@needs(Scope.FILES, reach=Reach.VOLUME)
def post_link(wanted: dict[str, Any], volume_id: str) -> dict[str, Any]:
    """Make a link to download (GET) or upload (PUT) one path."""
    if wanted["action"] == "upload":
        path_bytes(wanted["path"])
    volume = services().volumes.find(volume_id)
    node = services().nodes.online(volume.node)
    url, expires_at = signed_link(volume, node, wanted["path"], wanted["action"], wanted["ttl_seconds"])
    return {"url": url, "expires_at": utc_text(expires_at)}


@blueprint.route("/links/<token>")
@blueprint.response(200, BYTES, content_type="application/octet-stream")
@blueprint.doc(security=[])
@public
def download_by_link(token: str) -> Response:
    """Download what a link is for; `format` in the query chooses a folder's archive format."""
    return pass_download(_node_of(token, "download"), f"/links/{token}", _passed_query())


@blueprint.route("/links/<token>", methods=["PUT"])
@blueprint.response(200, Uploaded)
@blueprint.doc(security=[], requestBody=RAW_BODY)
@public
def upload_by_link(token: str) -> Response:
    """Upload the raw body to where a link leads; `overwrite=false` keeps what is there."""
    return pass_upload(_node_of(token, "upload"), f"/links/{token}", _passed_query())


def signed_link(volume: Volume, node: Node, path: str, action: str, ttl_seconds: int) -> tuple[str, int]:
    """A link's URL, and when it expires in Unix seconds. It leads through the API where the host has no address.

    A link does not outlive the token that makes it.
    """
    expires_at, issuer = int(time.time()) + ttl_seconds, ""
    token = caller().token
    if token is not None:
        expires_at = min(expires_at, token.expires_at)
        issuer = token.id
    link = Link(node.id, volume.volume_id, path, action, expires_at, issuer)
    base = node.links_url or asked_address(request, services().settings.trusted_proxies)
    return f"{base.rstrip('/')}/links/{sign_link(services().settings.signing_key(), link)}", expires_at


@blueprint.after_request
def _let_pages_read(response: Response) -> Response:
    if request.path.startswith("/links/"):
        response.headers.update(PAGE_HEADERS)
    return response


def _node_of(token: str, action: str) -> Node:
    link = read_link(services().settings.signing_key(), action, token)
    return services().nodes.online(link.node)


def _passed_query() -> dict[str, str]:
    return {name: request.args[name] for name in _PASSED_ON if name in request.args}
