"""Calls that act on names rather than on content: copy, rename, delete, permissions."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from storage.copying import copy
from storage.paths import checked_path, shown
from storage.renaming import change_mode, delete, rename
from storage.server.fields import body
from storage.volumes import Volumes


def blueprint(store: Volumes) -> Blueprint:
    """The routes, working on the volumes of `store`."""
    routes = Blueprint("names", __name__)

    @routes.post("/volumes/<volume_id>/copy")
    def copy_path(volume_id: str) -> dict[str, Any]:
        fields = body()
        source, destination = checked_path(fields.raw("source")), checked_path(fields.raw("destination"))
        with store.opened(volume_id) as root:
            copy(root, source, destination)
        return {"message": "Copied successfully", "source": shown(source), "destination": shown(destination)}

    @routes.post("/volumes/<volume_id>/rename")
    def rename_path(volume_id: str) -> dict[str, Any]:
        fields = body()
        old, new = checked_path(fields.raw("from")), checked_path(fields.raw("to"))
        with store.opened(volume_id) as root:
            rename(root, old, new)
        return {"message": "Renamed successfully", "from": shown(old), "to": shown(new)}

    @routes.post("/volumes/<volume_id>/delete")
    def delete_paths(volume_id: str) -> dict[str, Any]:
        paths = [checked_path(text) for text in body().items("paths")]
        with store.opened(volume_id) as root:
            count = delete(root, paths)
        return {"message": "Deleted successfully", "deleted_count": count}

    @routes.post("/volumes/<volume_id>/chmod")
    def change(volume_id: str) -> dict[str, Any]:
        fields = body()
        path, mode = checked_path(fields.raw("path")), fields.text("mode")
        with store.opened(volume_id) as root:
            change_mode(root, path, mode)
        return {"message": "Permissions changed successfully", "path": shown(path), "mode": mode}

    return routes
