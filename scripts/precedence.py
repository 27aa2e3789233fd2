"""Precedence on a busy host: what carries orders and consoles does not wait for what containers and clients compute."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NICENESS = -10


def take_precedence() -> None:
    """Raise the calling process and what it will start; where that is not permitted, nothing changes.

    Where the kernel shares processor time out by session, niceness only counts within one: then the session is raised
    too, if it is this process's own (sched(7), "The autogroup feature").
    """
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICENESS))
