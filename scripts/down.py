"""`./lightd down`: end the supervisor, and with it everything it started; containers keep running."""

from __future__ import annotations

import os
import select
import signal

from fleet.settings import Settings
from scripts import instance
from scripts.plan import GRACE_SECONDS

_LIMIT_SECONDS = 2 * GRACE_SECONDS + 10
"""The supervisor has a grace for the stores' clients and one for the stores."""


def down(settings: Settings) -> bool:
    """End this instance and wait until all its processes are gone; False when it didn't run."""
    pid = instance.supervisor_pid(settings)
    if pid is None:
        return False
    watched = [descriptor for descriptor in map(_pidfd, [pid, *_children(settings)]) if descriptor is not None]
    try:
        # The lock is looked at again now that the descriptor pins the process: its number can't have a new owner.
        if watched and instance.supervisor_pid(settings) == pid:
            signal.pidfd_send_signal(watched[0], signal.SIGTERM)
            if not _ended(watched[0], _LIMIT_SECONDS):
                signal.pidfd_send_signal(watched[0], signal.SIGKILL)  # the kernel then ends its children
        for descriptor in watched:
            _ended(descriptor, _LIMIT_SECONDS)
    finally:
        for descriptor in watched:
            os.close(descriptor)
    return True


def _children(settings: Settings) -> list[int]:
    return [process.pid for process in instance.running(settings) if process.pid is not None]


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _ended(descriptor: int, limit_seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], limit_seconds)[0])
