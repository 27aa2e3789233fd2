"""A container's record as the API shows it. Built by hand: this is what panels ask for all day."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from app.containers.limits import shown_limits
from fleet.models import Container
from fleet.repositories.history import Happening
from fleet.restart import restart_needed
from fleet.runs import RunEnd

_NANOSECONDS = 1_000_000_000


def shown_container(
    container: Container, node_state: str, last_end: RunEnd | None, *, with_output: bool
) -> dict[str, Any]:
    """All of a container; without its last run's last lines for those who may not see its console."""
    spec = container.spec
    return {
        "internal_id": container.internal_id,
        "container_id": container.container_id,
        "volume_id": container.volume_id,
        "image": spec.image,
        "startup_command": spec.startup_command,
        "start_pattern": spec.start_pattern,
        "install_state": container.install_state,
        "state": container.state,
        "ports": _shown_ports(container),
        "limits": shown_limits(spec.limits),
        "mount": spec.mount,
        "env": spec.env,
        "stop_command": spec.stop_command,
        "stop_signal": spec.stop_signal,
        "stop_timeout": spec.stop_timeout_seconds,
        "install_timeout": spec.install_timeout_seconds,
        "pull_policy": spec.pull_policy,
        "labels": spec.labels,
        "restart_policy": {"policy": spec.restart_policy, "max_tries": spec.restart_tries},
        "restarts": container.restarts,
        "restart_at": int(container.restart_at) if container.restart_at else None,
        "node": container.node,
        "node_state": node_state,
        "exit_code": container.exit_code,
        "oom_killed": container.oom_killed,
        "last_end": shown_end(last_end, with_output=with_output) if last_end else None,
        "started_at": _started_at(container),
        "error": container.error,
        "job_id": container.job_id,
        "restart_needed": restart_needed(container),
        "created_at": container.created_at,
        "updated_at": container.updated_at,
    }


def listed_container(container: Container) -> dict[str, Any]:
    """A container as an item of the list."""
    return {
        "internal_id": container.internal_id,
        "container_id": container.container_id,
        "install_state": container.install_state,
        "state": container.state,
        "image": container.spec.image,
        "ports": _shown_ports(container),
        "node": container.node,
    }


def shown_end(end: RunEnd, *, with_output: bool) -> dict[str, Any]:
    """How a run ended."""
    shown = asdict(end)
    del shown["recorded_at"]
    if not with_output:
        shown["output"] = None
    return shown


def shown_happening(happening: Happening) -> dict[str, Any]:
    """Something that happened to a container."""
    return {"at": happening.at, "event": happening.event, "data": happening.data}


def _shown_ports(container: Container) -> list[dict[str, Any]]:
    return [
        {"ip": port.ip, "port": port.port, "protocol": port.protocol, "container_port": port.container_port}
        for port in container.ports
    ]


def _started_at(container: Container) -> int | None:
    """When the current run began, if there is one."""
    run = container.run
    return int(run) // _NANOSECONDS if run is not None and container.is_in_run(run) else None
