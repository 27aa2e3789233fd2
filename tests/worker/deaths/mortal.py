"""A worker process that is killed with SIGKILL right after a chosen step of a job."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import threading
from collections.abc import Callable
from typing import Any

from docker import APIClient

from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import JobRepository
from fleet.settings import Settings
from tests.storage.killed import killed
from worker.operations.compose import create_runner
from worker.runtime.docker import DockerRuntime

_NUMBER = struct.Struct("q")
_STEPS: dict[type, tuple[str, ...]] = {
    DockerRuntime: (
        "pull", "create", "rename", "start", "signal", "resume", "write_input", "update", "remove", "commit",
        "remove_image",
    ),
    APIClient: ("commit", "tag", "load_image", "remove_image"),
    JobRepository: ("claim", "update", "finish"),
    ContainerRepository: ("write", "exited", "remove", "write_install_log"),
}  # fmt: skip
"""What a worker changes: the engine and the record, where the journal is. Between two of these it only looks.

A commit is more than one call of the engine, so those count too.
"""


class Fate:
    """Which step of a job is its worker's last, counted from 0 over all workers of the job; None for none.

    So every death lies after one step and before the next: before an engine call, between its success and the
    journal, or after that.
    """

    def __init__(self, last_step: int | None) -> None:
        self._last_step = -1 if last_step is None else last_step
        self._done = mmap.mmap(-1, _NUMBER.size)  # shared with the workers
        self._lock = threading.Lock()

    def meet(self, settings: Settings, job_id: str) -> bool:
        """Have a worker process of its own do the job; whether it was killed on the way."""
        return self.meet_in(lambda: create_runner(settings).run(job_id))

    def meet_in(self, work: Callable[[], object]) -> bool:
        """Have a process of its own do some work; whether it was killed on the way."""

        def mortal_work() -> None:
            self._become_mortal()
            work()

        return killed(mortal_work)

    def _become_mortal(self) -> None:
        """From here on this process, which is not the test's, may be killed."""
        for owner, names in _STEPS.items():
            for name in names:
                setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            try:
                return real(*arguments, **named)
            finally:
                self._count()

        return call

    def _count(self) -> None:
        with self._lock:
            (done,) = _NUMBER.unpack(self._done[:])
            self._done[:] = _NUMBER.pack(done + 1)
            if done == self._last_step:
                os.kill(os.getpid(), signal.SIGKILL)
