"""Signed links: downloads and uploads for who holds one, without any header."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g

from fleet.links import PAGE_HEADERS, Link, check_issuer, check_link
from fleet.repositories.tokens import TokenRepository
from fleet.settings import Settings
from fleet.store import connect, store_errors
from storage.server.slots import TransferSlots
from storage.server.transfers import receive, send
from storage.volumes import Volumes


def blueprint(store: Volumes, slots: TransferSlots, settings: Settings) -> Blueprint:
    """The routes below `/links/`, which carry their proof in the URL."""
    routes = Blueprint("links", __name__)
    key = settings.signing_key()
    tokens = TokenRepository(connect(settings).record)

    def checked(action: str, token: str) -> Link:
        link = check_link(key, settings.node, action, token)
        with store_errors():
            check_issuer(link, tokens)
        g.is_proven = True
        return link

    @routes.after_request
    def let_pages_read(response: Response) -> Response:
        response.headers.update(PAGE_HEADERS)
        return response

    @routes.get("/links/<token>")
    def download(token: str) -> Response:
        link = checked("download", token)
        return send(store, slots, link.volume_id, link.path)

    @routes.put("/links/<token>")
    def upload(token: str) -> dict[str, Any]:
        link = checked("upload", token)
        return receive(store, slots, link.volume_id, link.path)

    return routes
