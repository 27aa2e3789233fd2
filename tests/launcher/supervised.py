"""A real supervisor over small processes of a test's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.plan import Plan, Process
from tests.support.deadline import eventually
from tests.support.stack import CHECKOUT


def shell(name: str, script: str, **more: Any) -> Process:
    """A process that is a shell script."""
    return Process(name, ["/bin/sh", "-c", script], **more)


def listener(name: str, path: Path, *, after_seconds: float = 0) -> Process:
    """A stand-in for a store: it listens on a Unix socket."""
    program = (
        "import socket, sys, time; time.sleep(float(sys.argv[2])); s = socket.socket(socket.AF_UNIX);"
        "s.bind(sys.argv[1]); s.listen(); time.sleep(600)"
    )
    return Process(name, [sys.executable, "-c", program, str(path), str(after_seconds)], socket=str(path))


class Supervised:
    """A supervisor that runs `processes` in the folder `data`."""

    def __init__(self, data: Path, processes: list[Process], *options: str, grace_seconds: float = 10) -> None:
        self.plan = Plan(data, CHECKOUT, processes, grace_seconds)
        for name in ("run", "log"):
            (data / name).mkdir(exist_ok=True)
        self._terminal = data / "terminal"
        (data / "plan").write_text(self.plan.to_json())
        with (data / "plan").open() as plan, self._terminal.open("a") as terminal:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scripts.supervisor", *options], cwd=CHECKOUT, stdin=plan, stdout=terminal
            )

    def record(self, name: str) -> dict[str, Any]:
        """What the supervisor wrote down about a process; empty before it did."""
        if not self.plan.record_path.exists():
            return {}
        found: dict[str, Any] = json.loads(self.plan.record_path.read_text())["processes"].get(name, {})
        return found

    def pid(self, name: str) -> int:
        """The id of a process, once it runs."""
        return int(eventually(lambda: self.record(name).get("pid"), within_seconds=10, what=f"a running {name}") or 0)

    def log(self, name: str) -> str:
        """What a process has written."""
        path = self.plan.log_path(name)
        return path.read_text() if path.exists() else ""

    def terminal(self) -> str:
        """What the supervisor has shown on its terminal."""
        return self._terminal.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to the supervisor and wait; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


def is_alive(pid: int) -> bool:
    """Whether a process with this id runs (a zombie doesn't)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def used_ticks(pid: int) -> int:
    """Processor time a process has used, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def kill(pid: int) -> None:
    """End one process at once."""
    os.kill(pid, signal.SIGKILL)
