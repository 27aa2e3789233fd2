"""What a container changed outside its volume, seen in its own layer of the file system."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

_MADE_BY_ENGINE = frozenset(
    {
        "home", "home/container", "app", "app/data", "dev", "proc", "sys", "etc", "sbin", "sbin/docker-init",
        "usr", "usr/sbin", "usr/sbin/docker-init", ".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf",
        "etc/mtab", "dev/console", "dev/pts", "dev/shm", "tmp",
    }
)  # fmt: skip
"""Mount points and folders on the way to them: the engine makes them, or makes them its own, at the start."""

_IN_MEMORY = ("/dev/", "/memfd:", "/SYSV")


def changed_bytes(upper: Path) -> int:
    """Size of an overlay's upper folder; an entry without content (a link, a deletion) counts as one byte.

    Entries that vanish meanwhile are passed over: a running container goes on changing things.
    """
    return sum(max(entry_bytes, 1) for path, entry_bytes in _entries(upper, "") if path not in _MADE_BY_ENGINE)


def deleted_bytes(pids: Iterable[int], volume: Path) -> int:
    """Size of what these processes of a container have open or mapped although it has no name any more, outside its
    volume.

    What is in memory counts too, which is little. Processes that vanish, or that this one may not see, are passed over.
    """
    counted: dict[tuple[int, int], int] = {}
    volume_device = volume.stat().st_dev
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for path in (*_open_files(pid), *_deleted_mappings(pid)):
                with contextlib.suppress(OSError):  # closed meanwhile
                    found = path.stat()
                    if stat.S_ISREG(found.st_mode) and not found.st_nlink and found.st_dev != volume_device:
                        counted[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(counted.values())


def _open_files(pid: int) -> Iterator[Path]:
    yield from Path(f"/proc/{pid}/fd").iterdir()


def _deleted_mappings(pid: int) -> Iterator[Path]:
    """Files that a process has in its memory and need not have open; without those that are memory themselves."""
    for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
        place, _, _, _, _, *name = line.split(maxsplit=5)
        if name and name[0].endswith(" (deleted)") and not name[0].startswith(_IN_MEMORY):
            begin, end = (int(address, 16) for address in place.split("-"))
            yield Path(f"/proc/{pid}/map_files/{begin:x}-{end:x}")


def _entries(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    try:
        listing = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with listing:
        for entry in listing:
            path = f"{prefix}{entry.name}"
            try:
                is_folder = entry.is_dir(follow_symlinks=False)
                size_bytes = 0 if is_folder else entry.stat(follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue
            yield path, size_bytes
            if is_folder:
                yield from _entries(folder / entry.name, f"{path}/")
