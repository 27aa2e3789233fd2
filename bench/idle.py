"""What the whole stack costs while nothing happens: memory as proportional set size, and processor time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import docker

from bench.figures import show
from tests.support.stack import Stack

SECONDS = 30


def measure(engine: docker.DockerClient, stack: Stack) -> None:
    """Sums over the supervisor and everything below it, after settling for 20 s."""
    time.sleep(20)
    supervisor = int((stack.data / "run/supervisor.lock").read_text())
    before = processor_seconds(supervisor)
    time.sleep(SECONDS)
    spent = processor_seconds(supervisor) - before
    rows = [(_name(pid), pss_kb(pid)) for pid in tree(supervisor)]
    for name, size in sorted(rows, key=lambda row: -row[1]):
        show(name, f"{size / 1024:.1f} MB")
    show("memory in sum", f"{sum(size for _, size in rows) / 1024:.0f} MB", "400 MB")
    show("processor", f"{spent / SECONDS * 100:.1f} % of one core", "3 %")


def tree(pid: int) -> Iterator[int]:
    """A process and everything below it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from tree(int(child))


def processor_seconds(pid: int) -> float:
    """Processor time of a process and everything below it."""
    ticks = 0
    for process in tree(pid):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def pss_kb(pid: int) -> int:
    """Memory of a process as its proportional set size."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def _name(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return words[:70].strip()
