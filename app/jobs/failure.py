"""How a job ended that a request waited for."""

from __future__ import annotations

from fleet.errors import Conflict, LightdError
from fleet.models import Job
from fleet.problems import error_from


def failure_of(job: Job) -> LightdError:
    """The error that a job ended with, as its worker raised it."""
    if job.state == "cancelled":
        return Conflict("The job was cancelled; nothing of it was kept.", code="cancelled")
    told = job.result or {"status": 500, "code": "internal"}
    return error_from(told["status"], {**told, "error": job.error})
