"""One process under the supervisor: started, read, ended, and due again after a back-off."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.log_file import LogFile
from scripts.parent_death import dies_with_parent
from scripts.plan import Process
from scripts.precedence import take_precedence

FIRST_BACKOFF_SECONDS = 0.2
LAST_BACKOFF_SECONDS = 5.0
_STEADY_SECONDS = 10.0
"""A process that lived this long starts again with the first back-off."""
_READ_BYTES = 64 * 1024


class Child:
    """A process of the plan. It leads a process group of its own, and that group ends with it."""

    def __init__(self, process: Process, log: LogFile, folder: Path) -> None:
        self.process = process
        self.name = process.name
        self.due: float | None = 0.0
        """When to start it, on the monotonic clock; None while it runs or shall not run again."""
        self.restarts = -1
        self.started_at = 0.0
        self.last_end = ""
        self._log = log
        self._folder = folder
        self._popen: subprocess.Popen[bytes] | None = None
        self._backoff_seconds = FIRST_BACKOFF_SECONDS
        self._begun = 0.0
        self._unfinished = b""

    @property
    def pid(self) -> int | None:
        """Its process id; None while it doesn't run."""
        return self._popen.pid if self._popen else None

    def start(self) -> tuple[int, int]:
        """Start it; answers the descriptors of its output and of its end (a pidfd). Raises OSError."""
        self.due = None
        self.restarts += 1
        self.started_at, self._begun = time.time(), time.monotonic()
        self._popen = subprocess.Popen(
            self.process.command,
            cwd=self._folder,
            env={**os.environ, **self.process.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=self._preparation(),
        )
        output = self._output.fileno()
        os.set_blocking(output, False)
        return output, os.pidfd_open(self._popen.pid)

    def read(self) -> bytes | None:
        """Whole lines it has written since the last call, which are in its log now too.

        Empty when there are none yet, None when it has closed its output. Raises OSError when the log can't be written.
        """
        try:
            data = os.read(self._output.fileno(), _READ_BYTES)
        except BlockingIOError:
            return b""
        if not data and not self._unfinished:
            return None
        lines, newline, rest = (self._unfinished + data).rpartition(b"\n")
        if len(rest) > _READ_BYTES or (rest and not data):
            lines, newline, rest = lines + newline + rest, b"\n", b""
        self._unfinished = rest
        self._log.write(lines + newline)
        return lines + newline

    def reap(self) -> None:
        """Take note of its end, and set when it is due again."""
        self._output.close()
        code = self._required().wait()
        self._popen = None
        self.last_end = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        if time.monotonic() - self._begun >= _STEADY_SECONDS:
            self._backoff_seconds = FIRST_BACKOFF_SECONDS
        self.hold_off()

    def hold_off(self) -> None:
        """Be due again after the back-off, which doubles each time."""
        self.due = time.monotonic() + self._backoff_seconds
        self._backoff_seconds = min(2 * self._backoff_seconds, LAST_BACKOFF_SECONDS)

    def send(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to it, or to its whole group, unless it is gone."""
        if self._popen is None:
            return
        try:
            (os.killpg if group else os.kill)(self._popen.pid, number)
        except ProcessLookupError:
            return

    def _preparation(self) -> Callable[[], None]:
        """What the new process does before it becomes its program."""
        tie = dies_with_parent(signal.SIGKILL)
        if not self.process.urgent:
            return tie

        def prepare() -> None:
            tie()
            take_precedence()

        return prepare

    def _required(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._popen

    @property
    def _output(self) -> Any:
        return self._required().stdout
