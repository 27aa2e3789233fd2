"""What the embedded stream store does when its memory is full."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from fleet.console import Append, Console
from fleet.settings import Settings
from scripts.processes import processes
from scripts.up import make_folders
from tests.support.deadline import eventually

CONTAINERS = 60
OUTPUT = (b"x" * 99 + b"\n") * 300
MEMORY_MB = 20


@pytest.fixture
def stream() -> Iterator[redis.Redis]:
    """A client of a stream store as `./lightd up` starts it, but small."""
    with tempfile.TemporaryDirectory(prefix="lightd-stream-") as folder:
        settings = Settings(data=Path(folder), stream_memory_mb=MEMORY_MB)
        make_folders(settings)
        (store,) = [process for process in processes(settings) if process.name == "stream"]
        running = subprocess.Popen(store.command, stdout=subprocess.DEVNULL)
        try:
            eventually(Path(store.socket).exists, within_seconds=10, what="the store's socket")
            with redis.Redis(unix_socket_path=store.socket) as client:
                yield client
        finally:
            running.terminate()
            running.wait(10)


def test_output_is_dropped_but_never_how_far_a_console_was_read(stream: redis.Redis) -> None:
    console = Console(stream)
    newest: dict[str, int | None] = {}
    for turn in range(40):
        active = CONTAINERS if turn < 3 else CONTAINERS // 3
        for number in range(active):
            item = Append(f"c{number}", "engine", str(turn or ""), str(turn + 1), OUTPUT)
            newest[item.container_id] = console.append([item])[0][0]
    assert stream.info("stats")["evicted_keys"] > 0
    assert 0 < len(stream.keys("lightd:console:*")) < CONTAINERS
    for name, seq in newest.items():
        assert console.position(name, "engine") == ("40" if int(name[1:]) < CONTAINERS // 3 else "3")
        assert console.reach(name)[1] == seq
