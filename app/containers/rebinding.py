"""Giving a container other ports of the pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from app.containers.power import DEEDS, enqueue
from app.services import Services
from fleet.errors import Conflict, Invalid
from fleet.lifecycle import Action, State
from fleet.models import PortWish
from fleet.repositories.jobs import new_job


def rebind_network(services: Services, container_id: str, wishes: Sequence[PortWish]) -> str:
    """Take the ports and begin; answers the job's id, or that of the same wish that is under way.

    Raises NotFound, Invalid while it installs, ActionNotAllowed, Conflict, PortNotInPool, PortTaken, Unavailable.
    """
    container = services.containers.get(container_id)
    if container.state is State.INSTALLING:
        raise Invalid("Cannot rebind network while container is installing", code="installing")
    services.nodes.online(container.node)
    arguments: dict[str, Any] = {"ports": [asdict(wish) for wish in wishes]}
    queue = DEEDS[Action.REBIND].queue
    job = new_job(Action.REBIND.value, container.node, queue, internal_id=container_id, arguments=arguments)
    begun = services.containers.begin(container, Action.REBIND, job, wishes=wishes)
    if begun == job.job_id:
        enqueue(services, job)
    elif services.jobs.get(begun).arguments != arguments:
        raise Conflict(f"Another rebinding is under way; wait for job {begun}.", code="busy")
    return begun
