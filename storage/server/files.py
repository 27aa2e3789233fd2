"""Calls about the files in a volume that are answered at once."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from storage.copying import copy
from storage.folders import make_folder
from storage.listing import list_detailed, list_folder
from storage.paths import checked_folder, checked_path, shown
from storage.server.fields import body, query, query_flag
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

    @routes.post("/volumes/<volume_id>/folders")
    def make(volume_id: str) -> dict[str, Any]:
        text = body().raw("path")
        path = checked_path(text)
        with store.opened(volume_id) as root:
            make_folder(root, path)
        return {"message": "Folder created successfully", "path": text}

    @routes.post("/volumes/<volume_id>/copy")
    def copy_path(volume_id: str) -> dict[str, Any]:
        fields = body()
        source, destination = checked_path(fields.raw("source")), checked_path(fields.raw("destination"))
        with store.opened(volume_id) as root:
            copy(root, source, destination)
        return {"message": "Copied successfully", "source": shown(source), "destination": shown(destination)}

    return routes
