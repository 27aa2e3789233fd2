"""What a container changed outside its volume, seen in its own layer of the file system."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from fleet.errors import Conflict

_MADE_BY_ENGINE = frozenset(
    {
        "home", "home/container", "app", "app/data", "dev", "proc", "sys", "etc", "sbin", "sbin/docker-init",
        "usr", "usr/sbin", "usr/sbin/docker-init", ".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf",
        "etc/mtab", "dev/console", "dev/pts", "dev/shm", "tmp",
    }
)  # fmt: skip
"""Mount points and folders on the way to them: the engine makes them, or makes them its own, at the start."""

_IN_MEMORY = ("/dev/", "/memfd:", "/SYSV")

_ENTRY_BYTES = 4096
"""What an entry without content (a link, a deletion) counts as: a disk also runs out of places for files."""

_USUAL_BYTES = 64 * 1024
"""What the files that the engine makes for a container have together at most, unless the container writes to them."""


def changed_bytes(upper: Path) -> int:
    """Size of an overlay's upper folder. A file with holes counts as without: so it would be in an image made of it.

    Entries that vanish meanwhile are passed over: a running container goes on changing things. Raises Conflict for
    folders too deep to be looked into.
    """
    try:
        return sum(_entry_bytes(path, found) for path, found in _entries(upper))
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise Conflict("There are folders too deep in one another outside the volume.", code="too_deep") from error


def overgrown_bytes(files: Iterable[str]) -> int:
    """Size of the files on the host that the engine mounts into a container, such as its `/etc/hosts`: a container
    whose root is writable may write to them. 0 while they are no larger than the engine makes them.
    """
    total_bytes = 0
    for file in files:
        with contextlib.suppress(OSError):
            total_bytes += os.stat(file).st_blocks * 512  # noqa: PTH116
    return total_bytes if total_bytes > _USUAL_BYTES else 0


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


def _entry_bytes(path: str, found: os.stat_result) -> int:
    content_bytes = found.st_blocks * 512
    if stat.S_ISREG(found.st_mode):
        content_bytes = max(content_bytes, found.st_size)
    elif path in _MADE_BY_ENGINE:
        return 0
    return content_bytes if path in _MADE_BY_ENGINE else max(content_bytes, _ENTRY_BYTES)


def _entries(upper: Path) -> Iterator[tuple[str, os.stat_result]]:
    folders = [""]
    while folders:
        prefix = folders.pop()
        try:
            listing = os.scandir(f"{upper}/{prefix}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        with listing:
            for entry in listing:
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    yield f"{prefix}{entry.name}", found
                    if stat.S_ISDIR(found.st_mode):
                        folders.append(f"{prefix}{entry.name}/")
