"""From a plan to the engine's own words: an allow-list, so that nothing else can reach the engine."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fleet.images import full_name, is_image_id
from worker.console.log_file import KEPT_FILES
from worker.runtime.base import ContainerPlan
from worker.runtime.docker_limits import limit_settings

HOME = "/home/container"
DATA = "/app/data"
_MB = 1024 * 1024
_WHOLE_ID = len("sha256:") + 64
_WEIGHT_FILES = ("blkio.weight", "blkio.bfq.weight", "io.weight", "io.bfq.weight")


def engine_config(plan: ContainerPlan, image_volumes: Iterable[str], *, weight_supported: bool) -> dict[str, Any]:
    """The body of the engine's create call.

    `image_volumes` are folders that the image declares as volumes: they get a small tmpfs each, because
    the engine would give them disk space that nobody limits.
    """
    return {
        "Image": plan.image,
        "Entrypoint": list(plan.command),
        "Cmd": None,
        "User": plan.user,
        "WorkingDir": HOME,
        "Env": [f"{name}={value}" for name, value in plan.env.items()],
        "Labels": dict(plan.labels),
        "Tty": True,
        "OpenStdin": True,
        "StdinOnce": False,
        "StopSignal": plan.stop_signal,
        "Healthcheck": {"Test": ["NONE"]},
        "ExposedPorts": {f"{port.container_port}/{port.protocol}": {} for port in plan.ports},
        "HostConfig": _host_config(plan, image_volumes, weight_supported),
    }


def engine_name(image: str) -> str:
    """An image's full name, which the engine cannot take for an id; a whole id, which no client can give, stays."""
    return image if is_image_id(image) and len(image) == _WHOLE_ID else full_name(image)


def weight_supported_here() -> bool:
    """Whether this kernel's control groups can weigh disk traffic; without it the engine may fail at the start."""
    roots = [Path("/sys/fs/cgroup/blkio"), Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/system.slice")]
    return any((root / name).exists() for root in roots for name in _WEIGHT_FILES)


def _host_config(plan: ContainerPlan, image_volumes: Iterable[str], weight_supported: bool) -> dict[str, Any]:
    return {
        "Init": True,
        "ReadonlyRootfs": plan.read_only,
        "CapDrop": ["ALL"],
        "CapAdd": list(plan.capabilities),
        "SecurityOpt": ["no-new-privileges"],
        "Privileged": False,
        "LogConfig": _log_config(plan.log_mb),
        "Mounts": _mounts(plan),
        "Tmpfs": _memory_folders(plan, image_volumes),
        "NetworkMode": plan.network,
        "ShmSize": plan.tmp_mb * _MB,
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],  # a host may keep core dumps on its own disk
        "PortBindings": _port_bindings(plan),
        "RestartPolicy": {"Name": "no"},
        **limit_settings(plan.limits, weight_supported=weight_supported),
    }


def _log_config(log_mb: int) -> dict[str, Any]:
    """All that matters to who reads the files, because the engine's own defaults stand for what is left out."""
    options = {"max-size": f"{log_mb}m", "max-file": str(KEPT_FILES), "compress": "false"}
    return {"Type": "json-file", "Config": options}


def _mounts(plan: ContainerPlan) -> list[dict[str, Any]]:
    """Bind mounts. Unlike the engine's `Binds` they fail when the folder on the host is missing."""
    mounts = [(str(plan.volume_path), HOME, False), (str(plan.data_path), DATA, True)]
    mounts += [(source, target, False) for target, source in plan.mounts.items()]
    return [
        {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}
        for source, target, read_only in mounts
    ]


def _memory_folders(plan: ContainerPlan, image_volumes: Iterable[str]) -> dict[str, str]:
    """Folders in memory. An installer's `/tmp` is a plain folder instead: what it unpacks there may be large."""
    options = f"rw,exec,nosuid,nodev,size={plan.tmp_mb}m"
    folders = {"/tmp": f"{options},mode=1777"} if plan.read_only else {}  # noqa: S108 (inside the container)
    taken = {HOME, DATA, "/tmp", *map(posixpath.normpath, plan.mounts)}  # noqa: S108
    for folder in image_volumes:
        if posixpath.normpath(folder) not in taken:
            folders[folder] = f"{options},mode=0777"
    return folders


def _port_bindings(plan: ContainerPlan) -> dict[str, list[dict[str, str]]]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in plan.ports:
        inside = bindings.setdefault(f"{port.container_port}/{port.protocol}", [])
        inside.append({"HostIp": port.ip, "HostPort": str(port.port)})
    return bindings
