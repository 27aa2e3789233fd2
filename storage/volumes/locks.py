"""File locks: the kernel releases them when their holder dies."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.errors import Conflict

_RETRY_SECONDS = 0.02
_HELD = Path("/proc/locks")
_thread = threading.local()


@contextmanager
def locked(path: Path, *, shared: bool = False, timeout_seconds: float = 15) -> Iterator[None]:
    """Hold the lock file at `path`; raises Conflict when others hold it for longer than `timeout_seconds`.

    The holder may remove the file: a lock on a removed file is not taken for a lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_seconds
    while (fd := _locked_fd(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)) is None:
        if time.monotonic() > deadline:
            raise Conflict("The volume is busy with another operation; try again when it is done.", code="volume_busy")
        time.sleep(_RETRY_SECONDS)
    outer = held_by_this_thread()
    _thread.held = (*outer, fd)
    try:
        yield
    finally:
        _thread.held = outer
        os.close(fd)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock on this file. Looking must not take it: that would turn somebody away."""
    try:
        inode = path.stat().st_ino
    except FileNotFoundError:
        return False
    held = (line.split() for line in _HELD.read_text().splitlines())
    return any("FLOCK" in words and any(word.endswith(f":{inode}") for word in words) for words in held)


def held_by_this_thread() -> tuple[int, ...]:
    """Descriptors of the locks that this thread holds. Commands it runs inherit them.

    A command outlives its parent's SIGKILL. While it still works on an image the lock stays held through its copy, so
    nobody mounts or repairs that image under it.
    """
    held: tuple[int, ...] = getattr(_thread, "held", ())
    return held


def _locked_fd(path: Path, kind: int) -> int | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        current = path.stat().st_ino == os.fstat(fd).st_ino
    except (BlockingIOError, FileNotFoundError):
        current = False
    except BaseException:
        os.close(fd)
        raise
    if current:
        return fd
    os.close(fd)
    return None
