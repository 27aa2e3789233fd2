"""What a supervisor is told to run. It imports next to nothing, because the supervisor stays in memory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

GRACE_SECONDS = 10.0
SUPERVISOR = "supervisor"
"""The supervisor's name among the processes: in the record of what runs, and of its log."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process to keep running. One with a `socket` is a store: the others start when it listens, end before it.

    One that is `urgent` takes precedence on a busy host.
    """

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    socket: str = ""
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """All processes of one instance, the folder of its data and the folder to run them in.

    Processes that are told to end have `grace_seconds` before they are killed.
    """

    data: Path
    checkout: Path
    processes: list[Process]
    grace_seconds: float = GRACE_SECONDS

    @property
    def lock_path(self) -> Path:
        """The lock that the running supervisor holds."""
        return lock_path(self.data)

    @property
    def record_path(self) -> Path:
        """Where the supervisor writes which process runs under which id."""
        return record_path(self.data)

    def log_path(self, name: str) -> Path:
        """The log of a process, or of the `supervisor` itself."""
        return log_folder(self.data) / f"{name}.log"

    def to_json(self) -> str:
        """The plan as text for `plan_from_json`."""
        return json.dumps({**asdict(self), "data": str(self.data), "checkout": str(self.checkout)})


def plan_from_json(text: str) -> Plan:
    """The plan that `Plan.to_json` wrote."""
    fields = json.loads(text)
    listed = [Process(**process) for process in fields["processes"]]
    return Plan(Path(fields["data"]), Path(fields["checkout"]), listed, fields["grace_seconds"])


def lock_path(data: Path) -> Path:
    """The lock of the instance whose data is there."""
    return data / "run" / "supervisor.lock"


def record_path(data: Path) -> Path:
    """The running processes of the instance whose data is there."""
    return data / "run" / "processes.json"


def log_folder(data: Path) -> Path:
    """The logs of the instance whose data is there."""
    return data / "log"
