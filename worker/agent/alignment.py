"""One container: what the record says against what the engine says. The engine's truth wins."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import structlog

from fleet.errors import Conflict, NotFound
from fleet.lifecycle import ALIVE, State
from fleet.models import Container
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import JobRepository
from fleet.runs import Run
from fleet.settings import Settings
from worker.agent.consoles import Consoles
from worker.agent.exits import Exits
from worker.agent.sampler import Sampler
from worker.agent.starts import Starts
from worker.known_store import is_own
from worker.operations.names import server_name
from worker.recovery.evidence import INSTALL_LOST
from worker.runtime.base import NEVER_RUN, EngineContainer, Runtime

log = structlog.get_logger()


class Alignment:
    """Brings records in line with the engine. Every step may be repeated, and done by several threads at once."""

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        containers: ContainerRepository,
        jobs: JobRepository,
        consoles: Consoles,
        starts: Starts,
        exits: Exits,
        sampler: Sampler,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._containers = containers
        self._jobs = jobs
        self._consoles = consoles
        self._starts = starts
        self._exits = exits
        self._sampler = sampler
        self._read_to_end: set[tuple[str, str]] = set()

    def forget_what_was_read(self) -> None:
        """Read the rest of every container's log again, from where its console stands now."""
        self._read_to_end.clear()

    def look(self, container_id: str, engine_id: str) -> None:
        """Something happened to this engine container: see how it is now."""
        try:
            record = self._containers.get(container_id)
        except NotFound:
            return
        found = self._runtime.inspect(engine_id)
        if found is not None and is_own(self._settings, found):
            self.align(record, found)

    def align(self, record: Container, found: EngineContainer) -> None:
        """Compare a record with its server's engine container, which was looked at before or after."""
        if found.running:
            self._align_running(record, found)
        elif record.state in ALIVE:
            if found.run > (record.ended_run or NEVER_RUN):
                self._exits.settle(found)
            else:
                self._end_if_stuck(record)
        else:
            self._read_rest(found)

    def known_again(self, record: Container, found: EngineContainer) -> Container:
        """The record, which speaks of the server's engine container from now on.

        A worker that made it again may have died, or waited in vain for the engine's answer, before the record knew.
        """
        if record.container_id == found.engine_id or record.state not in (State.READY, *ALIVE):
            return record
        if record.deleting or self._has_open_job(record):
            return record
        now = self._runtime.inspect(found.name)  # the record was read after the engine had been asked
        if now is None or now.engine_id != found.engine_id or not self._containers.made_again(record, found.engine_id):
            return record
        log.warning("an engine container was made that the record did not know", container=record.internal_id)
        return replace(record, container_id=found.engine_id)

    def named_again(self, record: Container) -> EngineContainer | None:
        """The server's engine container by its id, with its own name again if somebody gave it another; else None."""
        found = self._runtime.inspect(record.container_id) if record.container_id else None
        if found is None or not is_own(self._settings, found) or self._has_open_job(record):
            return None
        name = server_name(record.internal_id)
        if found.name != name:
            log.warning("an engine container had another name", container=record.internal_id, name=found.name)
            try:
                self._runtime.rename(found.engine_id, name)
            except (Conflict, NotFound) as error:
                log.warning("it keeps that name", container=record.internal_id, reason=error.message)
        return found

    def align_missing(self, record: Container) -> None:
        """The engine has no container for this record."""
        if record.state not in ALIVE or record.container_id is None:
            return
        if self._runtime.inspect(record.container_id) is not None:
            return
        if record.run and record.run > (record.ended_run or NEVER_RUN):
            self._exits.record(record.internal_id, record.container_id, Run(record.run))
        else:
            self._end_if_stuck(record)

    def end_lost_install(self, record: Container) -> None:
        """An install that nobody is on any more, as after a backup was restored, has failed."""
        if record.job_id is None or record.deleting or self._has_open_job(record):
            return
        if self._containers.fail_install(record, INSTALL_LOST):
            log.warning("an install was left by its job", container=record.internal_id)

    def _align_running(self, record: Container, found: EngineContainer) -> None:
        self._consoles.follow(record.internal_id, found.engine_id, Path(found.log_path))
        self._sampler.begin(record, found)
        if record.state is State.STARTING and record.spec.start_pattern:
            self._starts.expect(record, found)
        elif self._must_adopt(record, found) and self._containers.adopt(record, found.run):
            log.warning("a container runs that the record says does not", container=record.internal_id)

    def _must_adopt(self, record: Container, found: EngineContainer) -> bool:
        """Whether the process was started behind our back: then no job is at work on it."""
        if record.deleting or (record.state is State.RUNNING and record.run == found.run):
            return False
        return record.state in (State.READY, *ALIVE) and not self._has_open_job(record)

    def _end_if_stuck(self, record: Container) -> None:
        """Nothing runs, and nobody is about to start it, yet the record says that it lives."""
        if self._has_open_job(record) or record.container_id is None:
            return
        found = self._runtime.inspect(record.container_id)
        if found is None or not found.running:
            log.warning("a container does not run although the record says so", container=record.internal_id)
            run = Run(f"{time.time_ns():020d}", presumed=True)
            self._exits.record(record.internal_id, record.container_id, run)

    def _has_open_job(self, record: Container) -> bool:
        try:
            return record.job_id is not None and self._jobs.get(record.job_id).is_open
        except NotFound:
            return False

    def _read_rest(self, found: EngineContainer) -> None:
        """What a run printed that ended while nobody followed it."""
        if not found.log_path or (found.engine_id, found.run) in self._read_to_end:
            return
        self._read_to_end.add((found.engine_id, found.run))
        self._consoles.follow(found.container_id, found.engine_id, Path(found.log_path))
        self._consoles.end(found.engine_id)
