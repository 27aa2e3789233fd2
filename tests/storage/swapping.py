"""A program in a container that swaps a folder for a symlink in a tight loop; and a naive reader that falls for it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SECRET = "a secret of the host"

# Runs in its own process, as the containers' user, with nothing of ours but the kernel's atomic exchange.
_PROGRAM = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
os.chdir(sys.argv[1])
os.setgid(1000); os.setuid(1000)
EXCHANGE, HERE = 2, -100
pairs = [(b"dir", b"dir-link"), (b"dir/file", b"file-link"), (b"up/file", b"up/file-link")]
print("swapping", flush=True)
while True:
    for one, other in pairs:
        libc.renameat2(HERE, one, HERE, other, EXCHANGE)
        libc.renameat2(HERE, one, HERE, other, EXCHANGE)
"""


def lay_trap(volume: Path) -> Path:
    """Prepare a volume whose folders will be swapped for links to a folder of the host; returns that folder."""
    outside = volume.parent / "outside"
    outside.mkdir()
    (outside / "file").write_text(SECRET)
    for name in ("dir", "up", "dir/sub"):
        (volume / name).mkdir()
    for name in ("dir/file", "up/file", "dir/sub/file"):
        (volume / name).write_text("harmless")
    (volume / "dir-link").symlink_to(outside)
    (volume / "file-link").symlink_to(outside / "file")
    (volume / "up/file-link").symlink_to("../../outside/file")
    subprocess.run(["chown", "-R", "1000:1000", str(volume)], check=True)
    return outside


@contextmanager
def swapping(volume: Path) -> Iterator[None]:
    """Run the program on a volume with a trap."""
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM, str(volume)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"swapping\n"
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def keep_calling(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, int]:
    """Make each call again and again in a thread of its own; returns how often each was made."""
    deadline = time.monotonic() + seconds
    counts = dict.fromkeys(calls, 0)
    failures: list[BaseException] = []

    def repeat(name: str) -> None:
        try:
            while time.monotonic() < deadline:
                calls[name]()
                counts[name] += 1
        except BaseException as error:  # noqa: BLE001 (handed to the test's own thread)
            failures.append(error)

    threads = [threading.Thread(target=repeat, args=(name,)) for name in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return counts


def naive_read(volume: Path, path: str) -> str:
    """What many file APIs do: resolve, check, then open by name."""
    resolved = (volume / path).resolve()
    if not resolved.is_relative_to(volume):
        raise PermissionError(path)
    return resolved.read_text()
