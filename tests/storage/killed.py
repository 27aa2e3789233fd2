"""A process that kills itself with SIGKILL at a chosen step of its work."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

_STEPS = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "subprocess.Popen"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do `work` in a process of its own that is killed right before its change number `step` to the disk.

    A change is a file made, opened for writing, renamed, cut or removed, or a system command. False when the work was
    done before it came to that step; work that fails in another way fails the test.
    """

    def hooked() -> None:
        sys.addaudithook(_killing_hook(step))
        work()

    return killed(hooked)


def killed(work: Callable[[], object]) -> bool:
    """Do `work` in a process of its own; True when that was killed with SIGKILL, False when it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 (nothing may get out of this process)
            print(f"the work failed: {error!r}", file=sys.stderr)
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the work failed before it could be killed"
    return False


def _killing_hook(step: int) -> Callable[[str, tuple[Any, ...]], None]:
    left = step

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event not in _STEPS and not (event == "open" and arguments[2] & _WRITING):
            return
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    return look
