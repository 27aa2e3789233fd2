"""Actions on a container: one table, one function, for REST and for sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog

from app.services import Services
from fleet.lifecycle import Action
from fleet.models import Job
from fleet.repositories.jobs import new_job

PATIENCE_SECONDS = 25.0
"""How long a call waits for the end of its job before it answers with the job instead."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Deed:
    """Who does an action, and what its client is told at once."""

    queue: str
    message: str


DEEDS = {
    Action.START: Deed("quick", "Container start initiated"),
    Action.STOP: Deed("quick", "Container stop initiated"),
    Action.RESTART: Deed("quick", "Container restart initiated"),
    Action.KILL: Deed("agent", "Container kill initiated"),
    Action.REINSTALL: Deed("long", "Container reinstall started"),
    Action.REBIND: Deed("quick", "Network rebinding started"),
    Action.REPAIR: Deed("quick", "Container repair started"),
    Action.DELETE: Deed("quick", "Container deletion started"),
}


def request_action(services: Services, container_id: str, action: Action, **changes: Any) -> str:
    """Begin an action on a container; answers the id of its job, or of the equal job that is under way.

    `changes` are written with the new state.

    Raises NotFound, ActionNotAllowed, Conflict, or Unavailable when the container's host is offline.
    """
    container = services.containers.get(container_id)
    services.nodes.online(container.node)
    job = new_job(action.value, container.node, DEEDS[action].queue, internal_id=container.internal_id)
    begun = services.containers.begin(container, action, job, **changes)
    if begun == job.job_id:
        enqueue(services, job)
    return begun


def enqueue(services: Services, job: Job) -> None:
    """Put a recorded job into its queue. When that fails the host's sweeper will do it: the record is the truth."""
    if job.queue == "agent":
        return
    try:
        services.dispatch(job)
    except Exception as error:  # noqa: BLE001 (whatever the broker's library raises, the job is recorded)
        _log.warning("job not enqueued, the sweeper will", job_id=job.job_id, reason=str(error))
