"""Calls that write, read, list and find files."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from storage.folders import make_folder
from storage.listing import list_detailed, list_folder
from storage.paths import checked_folder, checked_path, shown
from storage.reading import read_text
from storage.searching import search
from storage.server.fields import body, query, query_flag, query_number
from storage.volumes import Volumes
from storage.writing import write_file


def blueprint(store: Volumes) -> Blueprint:
    """The routes, working on the volumes of `store`."""
    routes = Blueprint("files", __name__)

    @routes.post("/volumes/<volume_id>/files")
    def write(volume_id: str) -> dict[str, Any]:
        fields = body()
        path, content, overwrite = checked_path(fields.raw("path")), fields.content(), fields.flag("overwrite", True)
        with store.opened(volume_id) as root:
            write_file(root, path, content, overwrite=overwrite)
        return {"message": "File written successfully", "path": fields.raw("path")}

    @routes.get("/volumes/<volume_id>/files")
    def list_files(volume_id: str) -> dict[str, Any]:
        listed = list_detailed if query_flag("detailed") else list_folder
        path = checked_folder(query("path"))
        with store.opened(volume_id) as root:
            return {"files": [entry._asdict() for entry in listed(root, path)]}

    @routes.get("/volumes/<volume_id>/files/content")
    def read(volume_id: str) -> dict[str, Any]:
        path = checked_path(query("path"))
        with store.opened(volume_id) as root:
            return {"path": shown(path), "content": read_text(root, path)}

    @routes.post("/volumes/<volume_id>/folders")
    def make(volume_id: str) -> dict[str, Any]:
        text = body().raw("path")
        path = checked_path(text)
        with store.opened(volume_id) as root:
            make_folder(root, path)
        return {"message": "Folder created successfully", "path": text}

    @routes.get("/volumes/<volume_id>/search")
    def find(volume_id: str) -> dict[str, Any]:
        path, limit = checked_folder(query("path")), query_number("limit", 1000, largest=10_000)
        with store.opened(volume_id) as root:
            hits, more = search(root, path, query("pattern") or "", limit)
        return {"files": [hit._asdict() for hit in hits], "truncated": more}

    return routes
