"""Repairing a container, and waiting a while for what was found."""

from __future__ import annotations

from typing import Any

from app.containers.power import PATIENCE_SECONDS, request_action
from app.services import Services
from fleet.errors import Conflict, NodeTimeout
from fleet.lifecycle import Action


def repair_container(services: Services, container_id: str) -> tuple[str, dict[str, Any] | None]:
    """Compare a container with its engine and mend it: the job's id, and its result, None when that takes longer.

    Raises NotFound, ActionNotAllowed, Unavailable, or Conflict with what the repair failed with.
    """
    job_id = request_action(services, container_id, Action.REPAIR)
    try:
        job = services.jobs.wait(job_id, PATIENCE_SECONDS)
    except NodeTimeout:
        return job_id, None
    if job.state != "done":
        raise Conflict(f"The repair failed: {job.error}", code="repair_failed")
    return job_id, job.result or {}
