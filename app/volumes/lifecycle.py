"""Making and deleting volumes: first the record, then the disk, so that nothing is lost when either fails."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from app.services import Services
from fleet.errors import LightdError, NodeTimeout, Unavailable
from fleet.identifiers import new_volume_id
from fleet.models import Node, Volume

READY = "ready"
_CREATING = "creating"
_SECONDS = 60


def create_volume(services: Services, size_mb: int, node_name: str | None = None) -> Volume:
    """A new volume, on an online host.

    Raises Unavailable or NodeTimeout when the host is silent; what it may have made is then removed by its agent.
    """
    node = services.nodes.online(node_name) if node_name else services.nodes.choose()
    now = int(time.time())
    volume = Volume(new_volume_id(), node.id, "", size_mb, "", _CREATING, now, now)
    services.volumes.save(volume)
    made = _make_disk(services, node, volume)
    ready = replace(
        volume, path=made["path"], quota_mb=made["quota_mb"], quota_driver=made["quota_driver"], state=READY
    )
    services.volumes.save(ready)
    return ready


def delete_volume(services: Services, volume: Volume) -> None:
    """Remove a volume and its disk. Raises Conflict while a container is on it, Unavailable when it is still there.

    When the host falls silent in between (NodeTimeout) the volume is gone for clients, and its agent removes the disk.
    """
    node = services.nodes.online(volume.node)
    services.volumes.mark_deleting(volume.volume_id)
    try:
        services.files.call(node, "DELETE", _target(volume), timeout_seconds=_SECONDS)
    except NodeTimeout:
        raise
    except Unavailable:
        services.volumes.save(volume)
        raise
    services.volumes.forget(volume.volume_id)


def _make_disk(services: Services, node: Node, volume: Volume) -> dict[str, Any]:
    try:
        answer = services.files.call(
            node, "POST", _target(volume), body={"size_mb": volume.quota_mb}, timeout_seconds=_SECONDS
        )
    except Unavailable:
        services.volumes.mark_deleting(volume.volume_id)
        raise
    except LightdError:
        services.files.call(node, "DELETE", _target(volume), timeout_seconds=_SECONDS)
        services.volumes.forget(volume.volume_id)
        raise
    made: dict[str, Any] = answer.json()
    return made


def _target(volume: Volume) -> str:
    return f"/volumes/{volume.volume_id}"
