"""Limits of a container: seen beside what it uses, and changed while it runs."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema

from app.access import Reach, needs
from app.containers.limits import new_limits, shown_limits
from app.containers.power import enqueue
from app.containers.schemas import Limits
from app.idempotency import repeatable
from app.jobs.failure import failure_of
from app.json_body import Blueprint
from app.services import services
from fleet.errors import Conflict, NodeTimeout
from fleet.repositories.jobs import new_job
from fleet.scopes import Scope

_PATIENCE_SECONDS = 15.0

blueprint = Blueprint("resources", __name__, description="Limits, and what is used of them.")


class NewLimits(Limits):
    """Limits to change; what is left out stays."""

    @validates_schema
    def _something(self, values: dict[str, Any], **_: Any) -> None:
        if not values:
            raise ValidationError("Name a limit: memory, swap, cpu, pids or io_weight.")


class Usage(Schema):
    """What a running container used in the last second."""

    memory = fields.Integer(metadata={"description": "In bytes."})
    cpu = fields.Float(metadata={"description": "In percent, 100 for each core."})
    pids = fields.Integer(metadata={"description": "Processes and threads."})


class Resources(Schema):
    """Limits and use."""

    internal_id = fields.String()
    limits = fields.Nested(Limits)
    usage = fields.Nested(Usage, allow_none=True, metadata={"description": "null unless it runs."})


class LimitsChanged(Schema):
    """The new limits hold."""

    message = fields.String()
    internal_id = fields.String()
    job_id = fields.String()
    limits = fields.Nested(Limits)


@blueprint.route("/containers/<internal_id>/resources")
@blueprint.response(200, Resources)
@needs(Scope.READ, reach=Reach.CONTAINER)
def get_resources(internal_id: str) -> dict[str, Any]:
    """The limits of a container, and what it uses of them now."""
    offered = services()
    container = offered.containers.get(internal_id)
    usage = None
    last = offered.stats.last(internal_id)
    if last is not None and container.is_in_run(last.run):
        usage = {"memory": last.stats.memory_bytes, "cpu": last.stats.cpu_percent, "pids": last.stats.pids}
    return {"internal_id": internal_id, "limits": shown_limits(container.spec.limits), "usage": usage}


@blueprint.route("/containers/<internal_id>/resources", methods=["POST"])
@blueprint.arguments(NewLimits)
@blueprint.response(200, LimitsChanged)
@repeatable
@needs(Scope.ADMIN, reach=Reach.CONTAINER)
def post_resources(wanted: dict[str, Any], internal_id: str) -> dict[str, Any]:
    """Change limits, at once also for a process that runs; refused when it uses more than that now."""
    offered = services()
    node = offered.nodes.online(offered.containers.get(internal_id).node)
    job = new_job("resources", node.id, "quick", internal_id=internal_id, arguments=new_limits(wanted, node))
    job_id = offered.containers.open_limits_job(job)
    if job_id == job.job_id:
        enqueue(offered, job)
    try:
        ended = offered.jobs.wait(job_id, _PATIENCE_SECONDS)
    except NodeTimeout as error:
        told = f"Node {node.id} has not answered; it changes the limits when it can: see job {job_id}."
        raise NodeTimeout(told) from error
    if ended.state == "cancelled":
        raise Conflict("Other limits were asked for before these were set; look what holds now.", code="cancelled")
    if ended.state != "done":
        raise failure_of(ended)
    limits = shown_limits(offered.containers.get(internal_id).spec.limits)
    return {"message": "Limits changed", "internal_id": internal_id, "job_id": job_id, "limits": limits}
