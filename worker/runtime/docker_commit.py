"""Making an image of what an install script left, without what its container was told."""

from __future__ import annotations

from typing import Any


def commit(client: Any, engine_id: str, image: str) -> None:
    """Make an image of a stopped container's file system, configured like the image that it was made from.

    The engine adds what the container has and the new configuration does not name. So variables of its environment
    are named without a value, which removes them, and its labels are emptied.
    """
    container = client.inspect_container(engine_id)
    base = client.inspect_image(container["Image"]).get("Config") or {}
    config = _config(base, container["Config"])
    client.commit(engine_id, repository=image, tag="latest", pause=False, conf=config)


def _config(base: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    names = [variable.partition("=")[0] for variable in base.get("Env") or []]
    added = {variable.partition("=")[0] for variable in told.get("Env") or []} - set(names)
    labels = base.get("Labels") or {}
    return {
        "Env": [*(base.get("Env") or []), *sorted(added)],
        "Labels": {**dict.fromkeys(told.get("Labels") or {}, ""), **labels},
        "Entrypoint": base.get("Entrypoint") or [],
        "Cmd": base.get("Cmd") or [],
        "WorkingDir": base.get("WorkingDir") or "/",
        "User": base.get("User") or "",
    }
