"""Jobs that got lost on the way: their message, their worker, or the end that they wait for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from fleet.models import Job
from fleet.repositories.jobs import JobRepository
from fleet.store import Client
from storage.volumes.locks import is_locked
from worker.known_store import KnownStore

_SILENT_SECONDS = 3.0
_AGENT_QUEUE = "agent"
_QUICK_QUEUE = "quick"

log = structlog.get_logger()


class Sweeper:
    """Looks at this host's open jobs once a second."""

    def __init__(
        self,
        node: str,
        jobs: JobRepository,
        queues: Client,
        dispatch: Callable[[Job], None],
        obey: Callable[[dict[str, Any]], None],
        locks: Path,
        store: KnownStore,
    ) -> None:
        self._node = node
        self._jobs = jobs
        self._queues = queues
        self._dispatch = dispatch
        self._obey = obey
        self._locks = locks
        self._store = store

    def sweep(self) -> None:
        """Put lost jobs into their queues again; kill what should have stopped long ago.

        Jobs in a store that this host does not know have to wait.
        """
        if not self._store.is_known():
            return
        for job in self._jobs.unattended(self._node, _SILENT_SECONDS):
            self._attend(job)
        for job in self._jobs.overdue(self._node):
            self._obey({"kill": job.internal_id, "job": job.job_id})

    def _attend(self, job: Job) -> None:
        if job.cancel and job.queue != _AGENT_QUEUE:
            # It only has to be undone; in its own queue others may be at work for hours.
            job = replace(job, queue=_QUICK_QUEUE)
        if job.queue == _AGENT_QUEUE:
            self._obey({"kill": job.internal_id, "job": job.job_id})
        elif self._is_coming(job):
            return
        else:
            log.warning(
                "nobody is on this job; it goes into a queue again", job=job.job_id, queue=job.queue, kind=job.kind
            )
            self._dispatch(job)
        self._jobs.enqueued(job)

    def _is_coming(self, job: Job) -> bool:
        """Whether the job's message waits in its queue, or a worker is busy with its container: one more is no use."""
        if job.state == "queued" and self._queues.llen(f"node.{job.node}.{job.queue}"):
            return True
        return is_locked(self._locks / f"container-{job.internal_id}.lock")
