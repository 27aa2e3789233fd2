"""How far a piece of work is."""

from __future__ import annotations

from typing import Any

from app.access import Reach, needs
from app.jobs.schemas import JobPage, JobRecord, shown_job
from app.json_body import Blueprint
from app.paging import PageQuery, page_of
from app.services import services
from fleet.models import Job
from fleet.scopes import Scope

blueprint = Blueprint("jobs", __name__, description="Every call that starts work answers the id of a job; kept 7 days.")


@blueprint.route("/jobs/<job_id>")
@blueprint.response(200, JobRecord)
@needs(Scope.READ, Scope.POWER, Scope.FILES, reach=Reach.JOB)
def get_job(job_id: str) -> dict[str, Any]:
    """One job."""
    return shown_job(services().jobs.get(job_id))


@blueprint.route("/jobs/<job_id>/cancel", methods=["POST"])
@blueprint.response(200, JobRecord)
@needs(Scope.POWER, Scope.FILES, reach=Reach.JOB)
def cancel_job(job_id: str) -> dict[str, Any]:
    """Stop an install, an archive or a pull; it ends as `cancelled` once what it made is gone again."""
    services().jobs.cancel(job_id)
    return shown_job(services().jobs.get(job_id))


@blueprint.route("/containers/<internal_id>/jobs")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, JobPage)
@needs(Scope.READ, reach=Reach.CONTAINER)
def list_container_jobs(query: dict[str, Any], internal_id: str) -> dict[str, Any]:
    """A container's jobs of the last 7 days, newest first."""
    offered = services()
    offered.containers.get(internal_id)

    def read(after: str, limit: int) -> tuple[list[Job], str | None]:
        return offered.jobs.of_container(internal_id, after, limit)

    return page_of("jobs", read, lambda job: job.job_id, query, show=shown_job)
