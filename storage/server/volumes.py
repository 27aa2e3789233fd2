"""Calls about volumes themselves: make, delete, measure."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from storage.server.fields import body
from storage.volumes import Usage, Volumes


def blueprint(store: Volumes) -> Blueprint:
    """The routes, working on `store`."""
    routes = Blueprint("volumes", __name__)

    @routes.post("/volumes/<volume_id>")
    def create(volume_id: str) -> tuple[dict[str, Any], int]:
        fields = body()
        meta = store.create(volume_id, fields.whole_number("size_mb"), until=fields.time("until"))
        return {
            "volume_id": volume_id,
            "path": str(store.ensure_mounted(volume_id)),
            "quota_mb": meta.size_mb,
            "quota_driver": meta.driver,
        }, 201

    @routes.delete("/volumes/<volume_id>")
    def delete(volume_id: str) -> tuple[str, int]:
        store.delete(volume_id)
        return "", 204

    @routes.get("/volumes/<volume_id>/quota")
    def quota(volume_id: str) -> dict[str, Any]:
        return shown_usage(store.usage(volume_id))

    @routes.post("/volumes/<volume_id>/resize")
    def resize(volume_id: str) -> dict[str, Any]:
        return shown_usage(store.resize(volume_id, body().whole_number("size_mb")))

    return routes


def shown_usage(usage: Usage) -> dict[str, Any]:
    """A usage as JSON."""
    return {
        "size_mb": usage.size_mb,
        "used_mb": usage.used_mb,
        "available_mb": usage.available_mb,
        "percentage_used": usage.percentage_used,
    }
