"""Starting again by policy: what is due now goes the way of every other start."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from fleet.errors import LightdError, NotFound
from fleet.lifecycle import Action
from fleet.models import Job
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import new_job
from fleet.runs import BY_POLICY
from worker.known_store import KnownStore
from worker.operations.names import server_name
from worker.runtime.base import Runtime

_QUEUE = "quick"

log = structlog.get_logger()


class Restarts:
    """Looks what is due. That stands in the store, so it does not matter when an agent dies."""

    def __init__(
        self,
        node: str,
        runtime: Runtime,
        containers: ContainerRepository,
        dispatch: Callable[[Job], None],
        store: KnownStore,
    ) -> None:
        self._node = node
        self._runtime = runtime
        self._containers = containers
        self._dispatch = dispatch
        self._store = store

    def start_due(self) -> None:
        """Begin every start that is due; raises EngineUnavailable while the engine is away, which costs no try.

        What is due in a store that this host does not know has to wait.
        """
        due = self._containers.restarts_due(self._node)
        if not due or not self._store.is_known():
            return
        for container_id in due:
            self._runtime.inspect(server_name(container_id))
            self._start(container_id)

    def _start(self, container_id: str) -> None:
        try:
            record = self._containers.get(container_id)
        except NotFound:
            return
        job = new_job(Action.START, self._node, _QUEUE, internal_id=container_id, asked_by=BY_POLICY)
        if not self._containers.start_by_policy(record, job):
            return
        log.info("a container is started again", container=container_id, policy=record.spec.restart_policy)
        try:
            self._dispatch(job)
        except LightdError as error:
            log.warning("a start by policy has to wait for the sweeper", job=job.job_id, reason=str(error))
