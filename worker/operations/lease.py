"""Signs of life: while a job is worked on, its lease is renewed, or the sweeper gives it to somebody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from redis.exceptions import RedisError

from fleet.repositories.jobs import LEASE_SECONDS, JobRepository

_RENEW_SECONDS = LEASE_SECONDS / 3

_log = structlog.get_logger(__name__)


class Leases:
    """All leases of one worker process, renewed by one thread in one round trip."""

    def __init__(self, jobs: JobRepository, worker: str) -> None:
        self._jobs = jobs
        self._worker = worker
        self._held: set[str] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def held(self, job_id: str) -> Iterator[None]:
        """Keep the lease of a claimed job alive."""
        with self._changed:
            self._held.add(job_id)
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_for_ever, name="leases", daemon=True)
                self._thread.start()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(job_id)

    def _renew_for_ever(self) -> None:
        while True:
            time.sleep(_RENEW_SECONDS)
            with self._changed:
                while not self._held:
                    self._changed.wait()
                held = list(self._held)
            try:
                self._jobs.renew(held, self._worker)
            except RedisError as error:
                _log.warning("leases cannot be renewed now", jobs=len(held), reason=str(error))
