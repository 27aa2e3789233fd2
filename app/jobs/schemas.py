"""Jobs as JSON."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from fleet.models import Job

STATES = ["queued", "running", "done", "failed", "cancelled"]


class JobRecord(Schema):
    """One piece of work."""

    job_id = fields.String()
    kind = fields.String()
    internal_id = fields.String(metadata={"description": "The container it is about, if it is about one."})
    volume_id = fields.String(metadata={"description": "The volume it is about, if it is about one."})
    node = fields.String()
    state = fields.String(metadata={"enum": STATES})
    step = fields.String(allow_none=True, metadata={"description": "What it is at."})
    progress = fields.Float(allow_none=True, metadata={"description": "From 0 to 1, null where nobody knows."})
    error = fields.String(allow_none=True)
    result = fields.Dict(allow_none=True)
    created_at = fields.Float(metadata={"description": "Unix seconds."})
    finished_at = fields.Float(allow_none=True, metadata={"description": "Unix seconds."})


class JobPage(Schema):
    """A container's jobs, newest first."""

    jobs = fields.List(fields.Nested(JobRecord))
    next_cursor = fields.String()


def shown_job(job: Job) -> dict[str, Any]:
    """A job as JSON; it names the container or the volume that it is about."""
    subject = {"volume_id": job.volume_id} if job.volume_id else {"internal_id": job.internal_id}
    return {
        "job_id": job.job_id,
        "kind": job.kind,
        **subject,
        "node": job.node,
        "state": job.state,
        "step": job.step,
        "progress": job.progress,
        "error": job.error,
        "result": job.result,
        "created_at": job.created_at,
        "finished_at": job.finished_at,
    }
