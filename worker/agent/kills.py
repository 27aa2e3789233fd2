"""SIGKILL, for those who ask for it and for those who did not stop in time. It takes no lock and no queue."""

from __future__ import annotations

import time

from fleet import messages
from fleet.errors import NotFound
from fleet.lifecycle import ALIVE, Action, State
from fleet.models import Container, Job
from fleet.repositories.containers import ContainerRepository, Superseded
from fleet.repositories.jobs import JobRefused, JobRepository
from fleet.runs import Run
from fleet.settings import Settings
from worker.agent.exits import Exits
from worker.known_store import is_own
from worker.operations.names import install_name, server_name
from worker.runtime.base import NEVER_RUN, EngineContainer, Runtime

_SIGKILL = "SIGKILL"
_WAITING = (Action.STOP, Action.RESTART, Action.REBIND)
"""Kinds of jobs that are the agent's only while they wait for an end, with SIGKILL after their time."""


class Kills:
    """Kills containers of this host and brings the jobs behind that to an end."""

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        containers: ContainerRepository,
        jobs: JobRepository,
        exits: Exits,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._containers = containers
        self._jobs = jobs
        self._exits = exits

    def obey(self, job_id: str) -> None:
        """Kill what this open job is about.

        Nothing for one that has ended, or that waits no more for an end that it asked for: that would hit a later run.
        """
        try:
            job = self._jobs.get(job_id)
        except NotFound:
            return
        if job.is_open and (job.waits or job.kind not in _WAITING):
            self.kill(job)

    def kill(self, job: Job) -> None:
        """SIGKILL to server and install script. What does not run any more is settled in the record instead.

        A job that is not, or no longer, the container's own kills no server: that would be somebody else's run.
        """
        if job.internal_id is None:
            return
        try:
            record = self._containers.get(job.internal_id)
        except NotFound:
            self._finish_aside(job)
            return
        if job.job_id != record.job_id:
            self._kill_cancelled(record)
            self._finish_aside(job)
            return
        server_killed = self._end(self._server(record))
        self._end(self._find(install_name(record.internal_id)))
        if not server_killed and job.kind != Action.DELETE:
            self._settle(record, job)

    def end(self, container_id: str) -> None:
        """SIGKILL to a server that must not go on, which nobody asked for: that is a crash."""
        try:
            self._end(self._server(self._containers.get(container_id)))
        except NotFound:
            return

    def _kill_cancelled(self, record: Container) -> None:
        """A kill of an install or a rebinding has cancelled it in the record; one that began later is not meant."""
        if record.job_id is not None and self._jobs.is_cancelled(record.job_id):
            self._end(self._find(install_name(record.internal_id)))
            self._end(self._server(record))

    def _end(self, found: EngineContainer | None) -> bool:
        """SIGKILL to our container; False when it does not run."""
        return found is not None and found.running and self._runtime.signal(found.engine_id, _SIGKILL)

    def _server(self, record: Container) -> EngineContainer | None:
        """The server's container, also when somebody has given it another name."""
        found = self._find(server_name(record.internal_id))
        return found if found or not record.container_id else self._find(record.container_id)

    def _find(self, name: str) -> EngineContainer | None:
        """Our container; another Lightd on this engine may use the name."""
        found = self._runtime.inspect(name)
        return found if found is not None and is_own(self._settings, found) else None

    def _finish_aside(self, job: Job) -> None:
        """The container has another job, which has its own end, or is gone: this one is done now."""
        try:
            self._jobs.finish(job, "done")
        except JobRefused:
            return

    def _settle(self, record: Container, job: Job) -> None:
        """Nothing runs: the job waits for an end that came before it, or for one that will never come."""
        found = self._server(record)
        if found and not found.running and found.run > (record.ended_run or NEVER_RUN) and self._exits.settle(found):
            return
        if found and found.running:  # a start that was on its way when the kill came has brought it up since
            if self._jobs.get(job.job_id).is_open:
                self._runtime.signal(found.engine_id, _SIGKILL)
            return
        if job.kind == Action.REBIND:
            run = Run(f"{time.time_ns():020d}", presumed=True)
            self._exits.record(record.internal_id, record.container_id or "", run)
            return
        state = State.READY if record.state in ALIVE else record.state
        tell = [messages.event(messages.EXIT), messages.daemon(messages.CONTAINER_STOPPED)]
        try:
            self._containers.write(record.internal_id, job, finish="done", state=state, tell=tell)
        except Superseded:
            return
