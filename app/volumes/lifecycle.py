"""Making, resizing and deleting volumes: first the record, then the disk, so that nothing is lost when either fails."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from app.services import Services
from fleet.errors import Conflict, LightdError, NotFound, Unavailable
from fleet.identifiers import new_volume_id
from fleet.lifecycle import ALIVE, State
from fleet.models import Node, Volume
from fleet.repositories.volumes import BEGIN_SECONDS, CREATING, DELETING, READY

_SECONDS = 60
_RESIZE_SECONDS = 600


def create_volume(services: Services, size_mb: int, node_name: str | None = None) -> Volume:
    """A new volume, on an online host.

    Raises NotFound for a host that was never there, and Unavailable or NodeTimeout when the host is silent; what it
    may have made is then removed by its agent.
    """
    if node_name:
        services.nodes.require_known(node_name)
    node = services.nodes.online(node_name) if node_name else services.nodes.choose()
    now = int(time.time())
    volume = Volume(new_volume_id(), node.id, "", size_mb, "", CREATING, now, now)
    services.volumes.save(volume)
    made = _make_disk(services, node, volume)
    ready = replace(
        volume, path=made["path"], quota_mb=made["quota_mb"], quota_driver=made["quota_driver"], state=READY
    )
    if not services.volumes.finish(ready, was=CREATING):
        raise Unavailable("The volume was given up because it took too long to make; create it again.")
    return ready


def delete_volume(services: Services, volume: Volume) -> None:
    """Remove a volume and its disk. Raises Conflict, and leaves it as it is, while it is used or resized.

    When the host falls silent in between (Unavailable) the volume is gone for clients, and its agent removes the disk:
    a part of it may have gone already.
    """
    node = services.nodes.online(volume.node)
    services.volumes.mark_deleting(volume.volume_id)
    try:
        services.files.call(node, "DELETE", _target(volume), timeout_seconds=_SECONDS)
    except Conflict:
        services.volumes.finish(volume, was=DELETING)
        raise
    services.volumes.forget(volume.volume_id)


def resize_volume(services: Services, volume: Volume, size_mb: int) -> dict[str, Any]:
    """Change a volume's size; answers how full it is then.

    Raises Conflict when it would shrink while a container on it is alive, or below its content.
    """
    node = services.nodes.online(volume.node)
    if size_mb < volume.quota_mb:
        _check_at_rest(services, volume)
    target = f"{_target(volume)}/resize"
    usage: dict[str, Any] = services.files.call(
        node, "POST", target, body={"size_mb": size_mb}, timeout_seconds=_RESIZE_SECONDS
    ).json()
    services.volumes.resized(volume.volume_id, size_mb)
    return usage


def _check_at_rest(services: Services, volume: Volume) -> None:
    for name in services.volumes.users(volume.volume_id):
        with suppress(NotFound):  # deleted meanwhile
            state = services.containers.get(name).state
            if state in ALIVE or state is State.INSTALLING:
                raise Conflict(
                    f"Container {name} is {state}; a volume can be made smaller only while no container on it runs.",
                    code="volume_in_use",
                )


def _make_disk(services: Services, node: Node, volume: Volume) -> dict[str, Any]:
    try:
        answer = services.files.call(
            node,
            "POST",
            _target(volume),
            body={"size_mb": volume.quota_mb, "until": volume.updated_at + BEGIN_SECONDS},
            timeout_seconds=_SECONDS,
        )
    except Unavailable:
        with suppress(NotFound):  # its agent is at it
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
