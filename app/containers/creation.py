"""From a client's validated wish to a recorded container with its install job."""

from __future__ import annotations

import time
from typing import Any

from app.containers.limits import first_limits
from app.containers.mounts import require_allowed
from app.containers.power import enqueue
from app.services import Services
from fleet.images import require_image_allowed
from fleet.lifecycle import InstallState, State
from fleet.models import Container, Node, Spec
from fleet.repositories.jobs import new_job
from fleet.settings import Settings


def create_container(services: Services, wanted: dict[str, Any]) -> str:
    """Record a container where its volume is, take its ports, begin its install; answers the id of the install's job.

    Raises Invalid, Forbidden, NotFound (volume), AlreadyExists, PortNotInPool, PortTaken, Conflict or Unavailable.
    """
    require_image_allowed(wanted["image"], services.settings.images_allowed)
    for host_path in wanted["mount"].values():
        require_allowed(host_path, services.settings.allowed_mounts)
    volume = services.volumes.find(wanted["volume_id"])
    node = services.nodes.online(volume.node)
    name: str = wanted["internal_id"]
    job = new_job("install", node.id, "long", internal_id=name)
    now = int(time.time())
    container = Container(
        internal_id=name,
        node=node.id,
        volume_id=volume.volume_id,
        spec=_spec(wanted, node, services.settings),
        ports=(),
        state=State.INSTALLING,
        install_state=InstallState.INSTALLING,
        container_id=None,
        job_id=job.job_id,
        created_at=now,
        updated_at=now,
    )
    begun = services.containers.create(container, wanted["ports"], job)
    if begun == job.job_id:
        enqueue(services, job)
    return begun


def _spec(wanted: dict[str, Any], node: Node, settings: Settings) -> Spec:
    return Spec(
        image=wanted["image"],
        startup_command=wanted["startup_command"],
        limits=first_limits(wanted["limits"], node, settings),
        start_pattern=wanted["start_pattern"],
        mount=wanted["mount"],
        install_script=wanted["install_script"],
        install_timeout_seconds=_or(wanted["install_timeout"], settings.install_timeout_seconds),
        env=wanted["env"],
        stop_command=wanted["stop_command"],
        stop_signal=wanted["stop_signal"],
        stop_timeout_seconds=_or(wanted["stop_timeout"], settings.stop_timeout_seconds),
        pull_policy=wanted["pull_policy"],
        labels=wanted["labels"],
        restart_policy=wanted["restart_policy"]["policy"],
        restart_tries=wanted["restart_policy"]["max_tries"],
    )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
