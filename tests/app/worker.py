"""What workers and agents do to the record, for tests of the API: the same calls, without an engine."""

from __future__ import annotations

import time

from app.services import Services
from fleet.lifecycle import InstallState, State
from fleet.models import Job
from fleet.runs import Run


class Worker:
    """Takes the jobs that the API recorded."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def install(self, container_id: str, error: str | None = None) -> None:
        """End an install, well or with an error."""
        job = self._claim(container_id)
        if error:
            changes = {"state": State.FAILED, "install_state": InstallState.FAILED}
            self.services.containers.write(container_id, job, finish="failed", error=error, **changes)
            return
        container = self.services.containers.get(container_id)
        changes = {"state": State.READY, "install_state": InstallState.READY, "container_id": f"engine-{container_id}"}
        spec = container.next_spec or container.spec
        self.services.containers.write(container_id, job, finish="done", spec=spec, next_spec=None, **changes)

    def start(self, container_id: str) -> str:
        """Begin a run; answers its name."""
        run = f"{time.time_ns():020}"
        job = self._claim(container_id)
        changes = {"run": run, "state": State.RUNNING}
        self.services.containers.write(container_id, job, finish="done", after_run=run, **changes)
        return run

    def exit(self, container_id: str, run: str, code: int = 0) -> None:
        """End a run."""
        container = self.services.containers.get(container_id)
        self.services.containers.exited(container_id, container.node, container.container_id or "", Run(run, code))

    def delete(self, container_id: str) -> None:
        """Remove a container."""
        self.services.containers.remove(container_id, self._claim(container_id))

    def fail(self, container_id: str, error: str) -> None:
        """End the current job with an error, the container as it is."""
        self.services.containers.write(container_id, self._claim(container_id), finish="failed", error=error)

    def _claim(self, container_id: str) -> Job:
        return self.services.jobs.claim(self.services.containers.get(container_id).job_id or "", "worker")
