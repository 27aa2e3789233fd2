"""From a container's record to the plans for its engine containers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from fleet.errors import Forbidden
from fleet.models import Container
from fleet.settings import Settings
from worker.operations.container_folder import ENTRYPOINT
from worker.operations.names import install_name, server_name
from worker.runtime.base import (
    LABEL_DATA,
    LABEL_ID,
    LABEL_JOB,
    LABEL_NODE,
    LABEL_PLAN,
    LABEL_ROLE,
    LABEL_SPEC,
    ROLE_INSTALL,
    ROLE_SERVER,
    ContainerPlan,
)

INSTALL_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETUID", "SETGID", "SETFCAP", "KILL", "NET_BIND_SERVICE",
)  # fmt: skip
"""What package managers need."""


def server_plan(
    settings: Settings, container: Container, image: str, volume_path: Path, data_path: Path
) -> ContainerPlan:
    """The container that runs the server. Raises Forbidden for a mount that the operator does not allow.

    A label tells what else but the image went into it, so that a start sees when that has changed.
    """
    plan = ContainerPlan(
        name=server_name(container.internal_id),
        image=image,
        command=("/bin/sh", f"/app/data/{ENTRYPOINT}"),
        user=settings.container_user,
        volume_path=volume_path,
        data_path=data_path,
        network=settings.network,
        limits=container.spec.limits,
        tmp_mb=settings.tmp_mb,
        log_mb=settings.log_mb,
        env=_server_env(container),
        labels=_labels(settings, container, ROLE_SERVER),
        mounts=allowed_mounts(settings, container.spec.mount),
        ports=container.ports,
        stop_signal=container.spec.stop_signal,
    )
    return replace(plan, labels={**plan.labels, LABEL_PLAN: _digest(plan)})


def install_plan(
    settings: Settings, container: Container, command: tuple[str, ...], volume_path: Path, data_path: Path
) -> ContainerPlan:
    """The container that runs the install script: root inside, with a file system of its own to change."""
    return ContainerPlan(
        name=install_name(container.internal_id),
        image=container.spec.image,
        command=command,
        user="0:0",
        volume_path=volume_path,
        data_path=data_path,
        network=settings.network,
        limits=container.spec.limits,
        tmp_mb=settings.tmp_mb,
        log_mb=settings.log_mb,
        env=container.spec.env | _facts(container),
        labels=_labels(settings, container, ROLE_INSTALL) | {LABEL_JOB: container.job_id or ""},
        mounts=allowed_mounts(settings, container.spec.mount),
        capabilities=INSTALL_CAPABILITIES,
        read_only=False,
    )


def allowed_mounts(settings: Settings, mounts: Mapping[str, str]) -> dict[str, str]:
    """The mounts with their real folders on the host; raises Forbidden unless each lies below an allowed one.

    Lightd's own data folder and the engine's socket stay out, and with them every folder that holds one of them.
    """
    allowed = [Path(folder).resolve() for folder in settings.allowed_mounts]
    real = {target: Path(source).resolve() for target, source in mounts.items()}
    for source in real.values():
        if not any(source.is_relative_to(folder) for folder in allowed):
            raise Forbidden(f"Mounting {source} is not allowed on this node; see LIGHTD_ALLOWED_MOUNTS.")
        if any(source.is_relative_to(own) or own.is_relative_to(source) for own in _own_paths(settings)):
            raise Forbidden(f"Mounting {source} is never allowed: it holds what Lightd itself works with.")
    return {target: str(source) for target, source in real.items()}


def _own_paths(settings: Settings) -> Iterator[Path]:
    """What gives whoever has it the whole host."""
    yield settings.data.resolve()
    if settings.engine.startswith("unix://"):
        yield Path(settings.engine.removeprefix("unix://")).resolve()


def _digest(plan: ContainerPlan) -> str:
    told = json.dumps(asdict(replace(plan, image="")), sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _server_env(container: Container) -> dict[str, str]:
    usual = {"HOME": "/home/container", "TERM": "xterm"}
    return usual | container.spec.env | _facts(container) | {"TINI_KILL_PROCESS_GROUP": "1"}


def _facts(container: Container) -> dict[str, str]:
    """What the process is told about itself."""
    ports = container.ports
    return {
        "SERVER_IP": ports[0].ip if ports else "0.0.0.0",  # noqa: S104 (only told, nothing listens here)
        "SERVER_PORT": str(ports[0].container_port) if ports else "",
        "SERVER_PORTS": ",".join(str(port.container_port) for port in ports),
        "SERVER_MEMORY": str(container.spec.limits.memory_bytes // 1024**2),
        "P_SERVER_ID": container.internal_id,
    }


def _labels(settings: Settings, container: Container, role: str) -> dict[str, str]:
    return {
        LABEL_ID: container.internal_id,
        LABEL_NODE: settings.node,
        LABEL_DATA: str(settings.data),
        LABEL_ROLE: role,
        LABEL_SPEC: described(container),
    }


def described(container: Container) -> str:
    """What an emptied store needs to know again; values of the environment are secrets and stay out."""
    spec = asdict(container.spec)
    spec["env"] = sorted(container.spec.env)
    del spec["install_script"]
    facts = {
        "volume_id": container.volume_id,
        "ports": [asdict(port) for port in container.ports],
        "created_at": container.created_at,
        "spec": spec,
    }
    return json.dumps(facts, separators=(",", ":"))
