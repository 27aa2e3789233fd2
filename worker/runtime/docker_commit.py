"""Making an image of what an install script left, without what its container was told: environment, labels, command.

The engine's commit adds what the container has and the new configuration does not name; and engines before 25 keep
the container's whole configuration beside it. So the committed image is only a draft. What is kept has a
configuration of its own, on the same layers: an engine that is given an image whose layers it has takes no copy.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from typing import Any

from docker.errors import ImageNotFound

from fleet.errors import Conflict
from worker.runtime.base import LABEL_IMAGE, owner_label
from worker.runtime.docker_errors import shortened

_DRAFT = "draft"


def commit(client: Any, engine_id: str, image: str) -> None:
    """Make an image of a stopped container's file system, configured like the image that it was made from.

    Of its labels only one is new: it tells whose image this is. One that dies half-way leaves a draft, which the
    next one, or `remove_draft`, removes.
    """
    remove_draft(client, image)
    container = client.inspect_container(engine_id)
    base = client.inspect_image(container["Image"]).get("Config") or {}
    owner = {LABEL_IMAGE: owner_label(container["Config"].get("Labels") or {})}
    base = {**base, "Labels": {**(base.get("Labels") or {}), **owner}}
    client.commit(engine_id, repository=image, tag=_DRAFT, pause=False, conf=_config(base, container["Config"]))
    draft = client.inspect_image(f"{image}:{_DRAFT}")
    if (draft.get("ContainerConfig") or {}).get("Image"):
        _load(client, image, {**draft, "Config": base})
    else:
        client.tag(draft["Id"], image, "latest")
    remove_draft(client, image)


def remove_draft(client: Any, image: str) -> None:
    """Remove what a commit left that died half-way; fine when there is nothing."""
    with contextlib.suppress(ImageNotFound):
        client.remove_image(f"{image}:{_DRAFT}")


def _config(base: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """A configuration to which the engine adds nothing: a variable without `=` is none, a label is emptied."""
    names = {variable.partition("=")[0] for variable in base.get("Env") or []}
    added = {variable.partition("=")[0] for variable in told.get("Env") or []} - names
    return {
        "Env": [*(base.get("Env") or []), *sorted(added)],
        "Labels": {**dict.fromkeys(told.get("Labels") or {}, ""), **(base.get("Labels") or {})},
        "Entrypoint": base.get("Entrypoint") or [],
        "Cmd": base.get("Cmd") or [],
        "WorkingDir": base.get("WorkingDir") or "/",
        "User": base.get("User") or "",
    }


def _load(client: Any, image: str, found: dict[str, Any]) -> None:
    """Give the engine an image of layers that it has."""
    layers = found["RootFS"]["Layers"]
    config = {
        "architecture": found["Architecture"],
        "os": found["Os"],
        "created": found["Created"],
        "config": found["Config"],
        "rootfs": {"type": "layers", "diff_ids": layers},
        "history": [{"created": found["Created"]} for _ in layers],
    }
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": [f"{image}:latest"], "Layers": names}]
    archive = _archive({"config.json": config, "manifest.json": manifest})
    for line in client.load_image(archive):
        if "error" in line:
            raise Conflict(f"The engine refused the image: {shortened(str(line['error']))}", code="commit_failed")


def _archive(files: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
