"""A new engine container in the place of the one that runs the server."""

from __future__ import annotations

from dataclasses import replace

from worker.operations.install import make, prepared_plan
from worker.operations.names import next_name, server_name
from worker.operations.work import Work
from worker.runtime.base import LABEL_JOB, require_replaceable


def replace_server(work: Work, image: str, made_by: str = "") -> str:
    """Make the server's container from the record of `work`, then let it take the old one's place.

    The old one goes only when the new one is there, and nothing is lost with it: its root is read-only. May be
    repeated after a crash. `made_by` is the job that a label names. Answers the new engine id; raises Conflict while
    the old one runs.
    """
    host = work.host
    plan = prepared_plan(work, image)
    plan = replace(plan, labels={**plan.labels, LABEL_JOB: made_by})
    old = host.runtime.inspect(plan.name)
    if old is not None:
        require_replaceable(old, plan)
    host.remove_from_engine(next_name(work.name))
    engine_id = make(work, replace(plan, name=next_name(work.name)))
    host.remove_from_engine(server_name(work.name))
    host.runtime.rename(engine_id, plan.name)
    return engine_id


def pinned_image(work: Work) -> str | None:
    """The image that the server's container was made from, by a name that still means it; None without a container."""
    runtime = work.host.runtime
    found = runtime.inspect(server_name(work.name))
    if found is None:
        return None
    return found.image if runtime.image_id(found.image) == found.image_id else found.image_id
