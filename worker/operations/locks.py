"""One job at a time on a container or volume of this host. The kernel frees the lock of a worker that dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.errors import Conflict
from fleet.settings import Settings

_POLL_SECONDS = 0.02
PATIENCE_SECONDS = 300.0
_MOUNTS_SECONDS = 60.0
_COPYING_LOOK_SECONDS = 1.0
_NO_JOB = "-"


class HeldBySameJob(Exception):
    """Another delivery of the same job is at work on it."""


class Busy(Exception):
    """Another job has kept the container or volume for too long."""


class ContainerLock:
    """A held lock. Its file names the job that holds it, for other deliveries of that job."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def name_holder(self, job_id: str) -> None:
        """Say which job is at work: its other deliveries step aside."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, job_id.encode(), 0)

    def disown(self) -> None:
        """The job is about to be left to somebody else: its other deliveries shall wait instead."""
        os.ftruncate(self._fd, 0)


@contextmanager
def container_lock(
    settings: Settings, container_id: str, job_id: str, patience_seconds: float = PATIENCE_SECONDS
) -> Iterator[ContainerLock]:
    """Hold a container's lock for a job. Raises HeldBySameJob at once, Busy after `patience_seconds`."""
    with _held(settings, f"container-{container_id}", job_id, patience_seconds) as lock:
        yield lock


@contextmanager
def volume_lock(settings: Settings, volume_id: str, job_id: str) -> Iterator[None]:
    """The same for a job on a volume. What keeps resizing and deletion away is the volume's own lock."""
    with _held(settings, f"volume-job-{volume_id}", job_id, PATIENCE_SECONDS):
        yield


@contextmanager
def mounts_lock(settings: Settings) -> Iterator[None]:
    """Held while a container with host folders is started: one at a time on this host. Raises Conflict when stuck."""
    path = settings.run_folder / "locks" / "mounts.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        fd = _acquired(path, _NO_JOB, time.monotonic() + _MOUNTS_SECONDS)
    except Busy as error:
        raise Conflict("Another container with host folders has been starting for a minute; try again.") from error
    try:
        yield
    finally:
        os.close(fd)


@contextmanager
def copying_lock(settings: Settings, while_waiting: Callable[[], None]) -> Iterator[None]:
    """Held while a large layer is copied: one at a time on this host, so that none takes the room that another was
    promised. `while_waiting` is called each second that others hold it, and may raise.
    """
    path = settings.run_folder / "locks" / "copying.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = None
    while fd is None:
        try:
            fd = _acquired(path, _NO_JOB, time.monotonic() + _COPYING_LOOK_SECONDS)
        except Busy:
            while_waiting()
    try:
        yield
    finally:
        os.close(fd)


@contextmanager
def _held(settings: Settings, name: str, job_id: str, patience_seconds: float) -> Iterator[ContainerLock]:
    path = settings.run_folder / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = _acquired(path, job_id, time.monotonic() + patience_seconds)
    try:
        lock = ContainerLock(fd)
        lock.name_holder(job_id)
        yield lock
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


def _acquired(path: Path, job_id: str, deadline: float) -> int:
    """The descriptor of the locked file."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 64, 0).decode()
            os.close(fd)
            if holder == job_id:
                raise HeldBySameJob(job_id) from None
            if time.monotonic() > deadline:
                raise Busy(path.name) from None
            time.sleep(_POLL_SECONDS)
            continue
        if _is_current(fd, path):
            return fd
        os.close(fd)


def _is_current(fd: int, path: Path) -> bool:
    """Whether the path still leads to the locked file: its last holder has unlinked the one before."""
    try:
        return os.fstat(fd).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False
