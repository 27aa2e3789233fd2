"""Deleting a container, and waiting a while for it to be gone."""

from __future__ import annotations

from app.containers.power import PATIENCE_SECONDS, request_action
from app.services import Services
from fleet.errors import Conflict, NodeTimeout, Unavailable
from fleet.lifecycle import Action


def delete_container(services: Services, container_id: str, *, force: bool = False) -> str | None:
    """Delete a container: None when it is gone, the id of the job when that takes longer.

    With `force` one whose host is offline is forgotten now; the host removes what it has of it when it returns.
    Raises NotFound, or what the deletion failed with: Unavailable, or Conflict when something took its place.
    """
    try:
        job_id = request_action(services, container_id, Action.DELETE, deleting=True)
    except Unavailable as error:
        if not force or error.code != "node_offline":
            raise
        _forget(services, container_id)
        return None
    try:
        job = services.jobs.wait(job_id, PATIENCE_SECONDS)
    except NodeTimeout:
        return job_id
    if job.state == "failed":
        raise Unavailable(f"The deletion failed: {job.error}", code="deletion_failed")
    if job.state == "cancelled":
        raise Conflict(job.error or "The deletion was cancelled.")
    return None


def _forget(services: Services, container_id: str) -> None:
    engine_id = services.containers.get(container_id).container_id
    services.containers.forget(container_id)
    services.console.forget(container_id, engine_id)
    services.stats.forget(container_id)
