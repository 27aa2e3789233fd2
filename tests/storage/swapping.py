"""A program in a container that swaps a folder for a symlink in a tight loop; and naive ways that fall for it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
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


def lay_trap(volume: Path, outside: Path | None = None) -> Path:
    """Prepare a volume whose folders will be swapped for links to a folder of the host; returns that folder."""
    outside = outside or volume.parent / "outside"
    outside.mkdir()
    (outside / "file").write_text(SECRET)
    for name in ("dir", "up", "dir/sub"):
        (volume / name).mkdir()
    for name in ("dir/file", "up/file", "dir/sub/file"):
        (volume / name).write_text("harmless")
    (volume / "dir-link").symlink_to(outside)
    (volume / "file-link").symlink_to(outside / "file")
    (volume / "up/file-link").symlink_to(os.path.relpath(outside / "file", volume / "up"))
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

    threads = [threading.Thread(target=repeat, args=(name,), daemon=True) for name in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return counts


def _resolved(volume: Path, path: str) -> Path:
    """What many file APIs do before they open something by name: resolve it, and check where that is."""
    resolved = (volume / path).resolve()
    if not resolved.is_relative_to(volume):
        raise PermissionError(path)
    return resolved


def _read(volume: Path, _outside: Path) -> bool:
    return _resolved(volume, "dir/file").read_text() == SECRET


def _write(volume: Path, outside: Path) -> bool:
    _resolved(volume, "dir/new").write_text("written")
    return (outside / "new").exists()


def _list(volume: Path, outside: Path) -> bool:
    return os.listdir(_resolved(volume, "dir")) == os.listdir(outside)


def _copy(volume: Path, outside: Path) -> bool:
    copied = outside.parent / "copied"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(_resolved(volume, "dir"), copied, symlinks=True)
    return _is_secret(copied / "file")


def _compress(volume: Path, _outside: Path) -> bool:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(_resolved(volume, "dir"), "dir")
    return SECRET.encode() in packed.getvalue()


def _extract(volume: Path, outside: Path) -> bool:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        made.writestr("unpacked", "x")
    with zipfile.ZipFile(packed) as opened:
        opened.extractall(_resolved(volume, "dir"))
    return (outside / "unpacked").exists()


def _is_secret(path: Path) -> bool:
    return not path.is_symlink() and path.read_text() == SECRET


NAIVE: dict[str, Callable[[Path, Path], bool]] = {
    "read": _read,
    "write": _write,
    "list": _list,
    "copy": _copy,
    "compress": _compress,
    "extract": _extract,
}
"""Ways of working on the folder that is swapped, which answer whether they got out of the volume this time."""
