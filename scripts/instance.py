"""A running Lightd on this host, seen from a command: who supervises it, what runs, whether it is ready."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.repositories.nodes import RECOVER
from fleet.settings import Settings
from scripts import instance_lock, plan

_HTTP_SECONDS = 5

STORE_UNKNOWN = (
    "The store is empty, older or another one than this host knows, so nothing on this host is changed: "
    "bring the old store back, or run `./lightd recover`."
)


@dataclass(frozen=True, slots=True)
class Running:
    """A process as its supervisor wrote it down; `pid` is None while it waits to be started again."""

    name: str
    pid: int | None
    started_at: float
    restarts: int
    last_end: str

    def uptime_seconds(self) -> float:
        """How long it has been running."""
        return max(0.0, time.time() - self.started_at)

    def pss_bytes(self) -> int:
        """Its proportional share of memory, with what it started itself; the supervisor's alone."""
        if self.pid is None:
            return 0
        return sum(map(_pss_bytes, [self.pid] if self.name == plan.SUPERVISOR else _tree(self.pid)))


@dataclass(frozen=True, slots=True)
class Readiness:
    """The answer of `/readyz`; `missing` names what it lacks, `answer` is a sentence about that."""

    ready: bool
    missing: tuple[str, ...]
    answer: str


def supervisor_pid(settings: Settings) -> int | None:
    """The running supervisor of this instance; None when it doesn't run."""
    return instance_lock.holder(plan.lock_path(settings.data))


def running(settings: Settings) -> list[Running]:
    """The instance's processes, as last written down; the supervisor is one of them."""
    try:
        listed = json.loads(plan.record_path(settings.data).read_text())["processes"]
    except FileNotFoundError:
        return []
    return [Running(name=name, **fields) for name, fields in listed.items()]


def url(settings: Settings) -> str:
    """Where the API answers, for a client on this host."""
    address, _, port = settings.bind.rpartition(":")
    reachable = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}.get(address, address)  # noqa: S104
    return f"http://{reachable}:{port}"


def readiness(settings: Settings) -> Readiness:
    """Ask `/readyz`. This host's own agent and workers count too: without them no call does anything."""
    address, _, port = url(settings).removeprefix("http://").rpartition(":")
    connection = http.client.HTTPConnection(address.strip("[]"), int(port), timeout=_HTTP_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = _parsed(answer.read())
    except (OSError, http.client.HTTPException) as error:
        return Readiness(False, (), f"The API does not answer at {url(settings)} ({error}).")
    finally:
        connection.close()
    missing = tuple(str(name) for name in body.get("missing", []))
    own = [name for name in missing if name.split("/")[0] == settings.node]
    if f"{settings.node}/{RECOVER}" in missing:
        return Readiness(False, missing, STORE_UNKNOWN)
    if answer.status == http.HTTPStatus.OK and not own:
        return Readiness(True, missing, "ready")
    reason = ", ".join(missing) or str(body.get("error", f"status {answer.status}"))
    return Readiness(False, missing, f"/readyz misses {reason}.")


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:  # it ended while we looked
                continue
    return found


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it ended, or belongs to somebody else
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
