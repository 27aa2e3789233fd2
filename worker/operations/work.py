"""One attempt at one job: what it is about, and how it speaks to the record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleet import messages
from fleet.models import Container, Job, Spec
from fleet.repositories.jobs import Cancelled
from worker.operations.host import Host
from worker.operations.locks import ContainerLock

_PROGRESS_SECONDS = 0.25


@dataclass(slots=True)
class Work:
    """A claimed job, its container's record as it was then, and the lock that is held for it."""

    host: Host
    job: Job
    container: Container
    lock: ContainerLock
    journal: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The container's `internal_id`."""
        return self.container.internal_id

    @property
    def spec(self) -> Spec:
        """What the client asked for."""
        return self.container.spec

    def write(self, **changes: Any) -> None:
        """Change the container's record on behalf of this job; raises Superseded."""
        self.host.containers.write(self.name, self.job, **changes)

    def update(self, tell: Sequence[str] = (), **changes: Any) -> None:
        """Change the job's own record; raises JobRefused and Cancelled."""
        self.host.jobs.update(self.job, tell, **changes)

    def stop_if_cancelled(self) -> None:
        """Raises Cancelled when somebody asked for that."""
        if self.host.jobs.is_cancelled(self.job.job_id):
            raise Cancelled

    def progress(self, step: str) -> Callable[[float | None], None]:
        """A function that tells watchers how far a step is, four times a second at most, and raises Cancelled."""
        told_at = 0.0

        def tell(fraction: float | None) -> None:
            nonlocal told_at
            if time.monotonic() - told_at < _PROGRESS_SECONDS and fraction != 1.0:
                return
            told_at = time.monotonic()
            self.update([messages.progress(self.job.job_id, step, fraction)], progress=fraction)

        return tell
