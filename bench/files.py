"""Calls on files from a client to the volume's host and back, and 2 GB through the API with the memory it takes."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import requests

from bench.figures import milliseconds, show
from tests.support.stack import VENDOR_TYPE, Stack

ENTRIES = 10_000
WRITES = 300
ROUNDS = 15
LARGE_MB = 2048
_SAMPLE_SECONDS = 0.05


def measure(engine: docker.DockerClient, stack: Stack) -> None:
    """Writes and lists over one kept connection; transfers with curl."""
    made = stack.api("POST", "/volumes", json={"size": 2 * LARGE_MB}).json()
    volume, folder = f"{stack.base_url}/volumes/{made['volume_id']}", Path(made["path"])
    with requests.Session() as session:
        session.headers.update({"Authorization": f"Bearer {stack.token}", "Accept": VENDOR_TYPE})
        _measure_calls(session, volume, folder)
    _measure_transfers(stack, volume, folder)


def _measure_calls(session: requests.Session, volume: str, folder: Path) -> None:
    taken = []
    for number in range(WRITES):
        started = time.monotonic()
        body = {"path": f"written/{number}", "content": "x" * 1024}
        session.post(f"{volume}/files", json=body).raise_for_status()
        taken.append(time.monotonic() - started)
    show("write 1 KB", milliseconds(taken), "12 ms")
    (folder / "many").mkdir()
    for number in range(ENTRIES):
        (folder / f"many/file-{number}.txt").write_text("hello")
    for query, limit in (("", "120 ms"), ("&detailed=true", "600 ms")):
        taken = []
        for _ in range(ROUNDS):
            started = time.monotonic()
            assert len(session.get(f"{volume}/files?path=many{query}").json()["files"]) == ENTRIES
            taken.append(time.monotonic() - started)
        show(f"list {ENTRIES} entries{query}", milliseconds(taken), limit)


def _measure_transfers(stack: Stack, volume: str, folder: Path) -> None:
    large = stack.data / "large"
    noise = os.urandom(16 * 1024 * 1024)
    with large.open("wb") as file:
        for _ in range(LARGE_MB // 16):
            file.write(noise)
    headers = ["-H", f"Authorization: Bearer {stack.token}", "-H", f"Accept: {VENDOR_TYPE}"]
    calls = {"upload": ["-T", str(large), f"{volume}/upload?path=large"], "download": [f"{volume}/download?path=large"]}
    for direction, arguments in calls.items():
        with grown(stack, "api") as api, grown(stack, "files") as files:
            started = time.monotonic()
            subprocess.run(["curl", "-sSf", "-o", "/dev/null", *headers, *arguments], check=True)
            speed = LARGE_MB / (time.monotonic() - started)
        show(f"{direction} of {LARGE_MB} MB through the API", f"{speed:.0f} MB/s", "150 MB/s")
        show("grown meanwhile: api, files", f"{api[0] / 1024:.1f} + {files[0] / 1024:.1f} MB", "64 MB")
    large.unlink()


@contextmanager
def grown(stack: Stack, name: str) -> Iterator[list[int]]:
    """How many KB of memory the process `name` and its children took at most beyond what they had before."""
    pids = _with_children(stack.pid(name))
    before = most = sum(map(_memory_kb, pids))
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(_SAMPLE_SECONDS):
            most = max(most, sum(map(_memory_kb, pids)))

    watching = threading.Thread(target=watch)
    watching.start()
    result = [0]
    try:
        yield result
    finally:
        done.set()
        watching.join()
        result[0] = most - before


def _with_children(pid: int) -> list[int]:
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _memory_kb(pid: int) -> int:
    """Proportional set size."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0
