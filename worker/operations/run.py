"""From a job's id to its end: lock, claim, operate, and write down what went wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from fleet.errors import EngineUnavailable, NotFound
from fleet.lifecycle import Action
from fleet.models import Job
from fleet.repositories.containers import Superseded
from fleet.repositories.jobs import JobRefused
from worker.operations.delete import delete, end_delete
from worker.operations.failure import Ending, ending_of, problem_of
from worker.operations.host import Host
from worker.operations.install import end_install, install
from worker.operations.lease import Leases
from worker.operations.locks import Busy, ContainerLock, HeldBySameJob, container_lock, volume_lock
from worker.operations.rebind import end_rebind, rebind
from worker.operations.repair import end_repair, repair
from worker.operations.resources import change_limits, end_change
from worker.operations.start import end_start, start
from worker.operations.stop import end_restart, end_stop, restart, stop
from worker.operations.volume_job import VOLUME_OPERATIONS, work_on_volume
from worker.operations.work import Work

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Operation:
    """What a kind of job does, how it ends when that fails, and whether it waits for an engine that is away.

    `run` answers True when the job has moved on and shall be claimed again at once.
    """

    run: Callable[[Work], bool | None]
    end: Callable[[Work, Ending], None]
    waits_for_engine: bool


OPERATIONS: dict[str, Operation] = {
    Action.INSTALL: Operation(install, end_install, waits_for_engine=True),
    Action.REINSTALL: Operation(install, end_install, waits_for_engine=True),
    Action.START: Operation(start, end_start, waits_for_engine=False),
    Action.STOP: Operation(stop, end_stop, waits_for_engine=True),
    Action.RESTART: Operation(restart, end_restart, waits_for_engine=True),
    Action.REBIND: Operation(rebind, end_rebind, waits_for_engine=True),
    Action.REPAIR: Operation(repair, end_repair, waits_for_engine=False),
    Action.DELETE: Operation(delete, end_delete, waits_for_engine=True),
    "resources": Operation(change_limits, end_change, waits_for_engine=True),
}
"""An install fails when its engine is away; it waits only where the engine is needed to undo it."""


class Runner:
    """Does the jobs that reach this worker process."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._worker = f"{host.settings.node}/{os.getpid()}"
        self._leases = Leases(host.jobs, self._worker)

    def run(self, job_id: str) -> None:
        """Do a job, unless it has ended, waits, or somebody else is on it. Raises nothing: the record knows."""
        with structlog.contextvars.bound_contextvars(job_id=job_id):
            try:
                self._run(job_id)
            except HeldBySameJob:
                _log.debug("another delivery of this job is at work")
            except JobRefused as refusal:
                _log.debug("there is nothing to do any more", reason=str(refusal))
            except (Busy, EngineUnavailable, RedisError) as error:
                _log.warning("the job is left to the sweeper", reason=str(error) or type(error).__name__)

    def _run(self, job_id: str) -> None:
        if not self._host.knows_store():
            _log.warning("the job waits until this host knows the store")
            return
        try:
            job = self._host.jobs.get(job_id)
        except NotFound:
            _log.debug("the job is unknown")
            return
        if job.volume_id is not None:
            self._run_on_volume(job, job.volume_id)
            return
        operation = OPERATIONS.get(job.kind)
        if not job.is_open or job.waits or job.internal_id is None or operation is None:
            _log.debug("nothing to do", kind=job.kind, state=job.state)
            return
        with container_lock(self._host.settings, job.internal_id, job_id) as lock:
            while self._attempt(operation, job_id, lock):
                lock.name_holder(job_id)

    def _run_on_volume(self, job: Job, volume_id: str) -> None:
        if not job.is_open or job.kind not in VOLUME_OPERATIONS:
            _log.debug("nothing to do", kind=job.kind, state=job.state)
            return
        with volume_lock(self._host.settings, volume_id, job.job_id):
            claimed = self._host.jobs.claim(job.job_id, self._worker)
            request_id = structlog.contextvars.bound_contextvars(request_id=job.request_id)
            with self._leases.held(job.job_id), request_id:
                work_on_volume(self._host, claimed)

    def _attempt(self, operation: Operation, job_id: str, lock: ContainerLock) -> bool:
        """One claim and what follows; True when the job shall be claimed again."""
        job = self._host.jobs.claim(job_id, self._worker)
        with self._leases.held(job_id), structlog.contextvars.bound_contextvars(request_id=job.request_id):
            try:
                container = self._host.containers.get(job.internal_id or "")
            except NotFound as error:
                self._host.jobs.finish(job, "failed", error.message, result=problem_of(error))
                return False
            return self._operate(operation, Work(self._host, job, container, lock, dict(job.journal)))

    def _operate(self, operation: Operation, work: Work) -> bool:
        log = _log.bind(kind=work.job.kind, container=work.name, attempt=work.job.attempt)
        log.info("job begins")
        try:
            again = bool(operation.run(work))
        except (Superseded, JobRefused) as refusal:
            self._give_way(work.job, str(refusal))
            return False
        except RedisError:
            raise
        except EngineUnavailable as error:
            if operation.waits_for_engine:
                raise
            self._end(operation, work, error)
            return False
        except Exception as error:  # noqa: BLE001 (every job ends with a reason)
            self._end(operation, work, error)
            return False
        log.info("job goes on" if again else "job has done its part")
        return again

    def _end(self, operation: Operation, work: Work, error: Exception) -> None:
        ending = ending_of(error, work.job.job_id)
        _log.warning("job ends", kind=work.job.kind, container=work.name, state=ending.state, reason=ending.reason)
        try:
            operation.end(work, ending)
        except (Superseded, JobRefused) as refusal:
            self._give_way(work.job, str(refusal))

    def _give_way(self, job: Job, reason: str) -> None:
        """Another action has the container now, or the end of its process ended the job."""
        try:
            self._host.jobs.finish(job, "cancelled", "Another action took its place.")
        except JobRefused:
            _log.debug("the job had moved on already", job_id=job.job_id, reason=reason)
