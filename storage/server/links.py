"""Signed links: downloads and uploads for who holds one, without any header."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from fleet.links import check_link
from fleet.settings import Settings
from storage.server.transfers import receive, send
from storage.volumes import Volumes


def blueprint(store: Volumes, settings: Settings) -> Blueprint:
    """The routes below `/links/`, which carry their proof in the URL."""
    routes = Blueprint("links", __name__)
    key = settings.signing_key()

    @routes.get("/links/<token>")
    def download(token: str) -> Response:
        link = check_link(key, settings.node, "download", token)
        return send(store, link.volume_id, link.path)

    @routes.put("/links/<token>")
    def upload(token: str) -> dict[str, Any]:
        link = check_link(key, settings.node, "upload", token)
        return receive(store, link.volume_id, link.path)

    return routes
