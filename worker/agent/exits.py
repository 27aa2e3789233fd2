"""The end of a run: its last output, the record, and whoever waited for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from fleet.errors import LightdError
from fleet.models import Job
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import JobRepository
from fleet.runs import Run
from worker.agent.consoles import Consoles
from worker.agent.inputs import Inputs
from worker.agent.starts import Starts
from worker.console.ended_run import ended_run
from worker.runtime.base import EngineContainer

_OUTPUT_SECONDS = 0.3

log = structlog.get_logger()


class Exits:
    """Writes ends of runs into the record; every one of them once, however often it is reported."""

    def __init__(
        self,
        node: str,
        containers: ContainerRepository,
        jobs: JobRepository,
        consoles: Consoles,
        starts: Starts,
        inputs: Inputs,
        dispatch: Callable[[Job], None],
    ) -> None:
        self._node = node
        self._containers = containers
        self._jobs = jobs
        self._consoles = consoles
        self._starts = starts
        self._inputs = inputs
        self._dispatch = dispatch

    def settle(self, found: EngineContainer) -> bool:
        """A server's engine container was found not to run. Answers whether that was news to the record.

        Watchers see its last lines before the exit, unless those take longer than 0.3 s.
        """
        if found.log_path:
            self._consoles.follow(found.container_id, found.engine_id, Path(found.log_path))
            self._consoles.end(found.engine_id, _OUTPUT_SECONDS)
        run = ended_run(found, self._containers.history.last_end(found.container_id))
        return self.record(found.container_id, found.engine_id, run)

    def record(self, container_id: str, engine_id: str, run: Run) -> bool:
        """Write the end of a run; a restart that waited for it goes on. Answers whether that was news."""
        self._starts.forget(engine_id)
        self._inputs.forget(container_id)
        news, restart = self._containers.exited(container_id, self._node, engine_id, run)
        if restart:
            self._go_on(restart)
        return news

    def _go_on(self, job_id: str) -> None:
        try:
            self._dispatch(self._jobs.get(job_id))
        except LightdError as error:
            log.warning("a restart has to wait for the sweeper", job=job_id, reason=str(error))
