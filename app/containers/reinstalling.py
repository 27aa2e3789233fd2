"""Installing a container again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from typing import Any

from app.containers.power import DEEDS, enqueue
from app.services import Services
from fleet.errors import Conflict
from fleet.images import require_image_allowed
from fleet.lifecycle import Action, InstallState
from fleet.models import Spec
from fleet.repositories.jobs import new_job


def reinstall_container(services: Services, container_id: str, wanted: dict[str, Any]) -> str:
    """Begin; answers the job's id, or that of the same wish that is under way. `wanted` are changes of the spec.

    Raises NotFound, Forbidden (image), ActionNotAllowed, Conflict, PortTaken, PortNotInPool, Unavailable.
    """
    container = services.containers.get(container_id)
    spec = replace(container.spec, **wanted)
    require_image_allowed(spec.image, services.settings.images_allowed)
    services.nodes.online(container.node)
    arguments = {"spec": _digest(spec)}
    queue = DEEDS[Action.REINSTALL].queue
    job = new_job(Action.REINSTALL.value, container.node, queue, internal_id=container_id, arguments=arguments)
    begun = services.containers.begin(
        container, Action.REINSTALL, job, next_spec=spec, install_state=InstallState.INSTALLING
    )
    if begun == job.job_id:
        enqueue(services, job)
    elif services.jobs.get(begun).arguments != arguments:
        raise Conflict("Another reinstall is under way; wait for it or kill it.", code="reinstall_under_way")
    return begun


def _digest(spec: Spec) -> str:
    return hashlib.sha256(json.dumps(asdict(spec), sort_keys=True).encode()).hexdigest()
