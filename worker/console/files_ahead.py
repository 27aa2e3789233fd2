"""The files of a container's log that a reader has not come to yet, held open: so they cannot be rotated away.

The engine deletes a log's oldest file when it begins a new one, and it writes faster than anybody reads. A deleted
file that is open can still be read; its space is free again when the reader has passed it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MOST_AHEAD = 16
MOST_IN_ALL = 64
_ROTATED = 9
_TRIES = 50
"""Many more than there are names to change; an engine that died meanwhile never gets done."""


class OpenFile(NamedTuple):
    """One file of a log. `after_gap` says that files between this one and the one before were lost."""

    fd: int
    inode: int
    after_gap: bool = False


class FilesAhead:
    """Files after the one with the inode `newest`, oldest first. `look` again before the engine has rotated thrice.

    One reader holds at most MOST_AHEAD. When it would hold more, or all of this process more than MOST_IN_ALL, it
    gives its oldest ones up; it keeps one in any case.
    """

    _lock = threading.Lock()
    _held_in_all = 0

    def __init__(self, path: Path, newest: int) -> None:
        self._path = path
        self._newest = newest
        self._held: deque[OpenFile] = deque()

    def __bool__(self) -> bool:
        return bool(self._held)

    def look(self) -> None:
        """Hold on to what was begun since the last look."""
        if self._is_newest_still():
            return
        files = list(open_files(self._path))
        inodes = [file.inode for file in files]
        known = inodes.index(self._newest) if self._newest in inodes else len(files)
        close_but(-1, files[known:])
        if not known:
            return
        self._held.extend(reversed(files[:known]))
        self._count(known)
        if known == len(files):
            self._lose_before(len(self._held) - known)
        self._newest = inodes[0]
        while len(self._held) > 1 and (len(self._held) > MOST_AHEAD or self._held_in_all > MOST_IN_ALL):
            os.close(self.take().fd)
            self._lose_before(0)

    def take(self) -> OpenFile:
        """The next file; the caller closes it."""
        self._count(-1)
        return self._held.popleft()

    def close(self) -> None:
        """Give the files back."""
        self._count(-len(self._held))
        close_but(-1, self._held)
        self._held.clear()

    @classmethod
    def _count(cls, change: int) -> None:
        with cls._lock:
            cls._held_in_all += change

    def _is_newest_still(self) -> bool:
        """The quick answer, for nearly always."""
        try:
            return os.stat(self._path).st_ino == self._newest  # noqa: PTH116 (for each read; this is half the time)
        except FileNotFoundError:
            return False

    def _lose_before(self, place: int) -> None:
        self._held[place] = self._held[place]._replace(after_gap=True)


def open_files(path: Path) -> list[OpenFile]:
    """The log's files as they are named now, newest first; the caller closes them."""
    for _ in range(_TRIES):
        files = list(_open_one_by_one(path))
        if _are_named_so(path, files):
            return files
        close_but(-1, files)  # the engine is renaming them: one may be there twice, another not at all
    return list(_open_one_by_one(path))


def _open_one_by_one(path: Path) -> Iterator[OpenFile]:
    for name in _names(path):
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            yield OpenFile(fd, os.fstat(fd).st_ino)


def _are_named_so(path: Path, files: list[OpenFile]) -> bool:
    """Whether these still are the log's files, and no name among them is free, as while the engine renames."""
    inodes: list[int | None] = []
    for name in _names(path):
        try:
            inodes.append(name.stat().st_ino)
        except FileNotFoundError:
            inodes.append(None)
    rotated = inodes[1:]
    while rotated and rotated[-1] is None:
        rotated.pop()
    return None not in rotated and [*filter(None, inodes)] == [file.inode for file in files]


def _names(path: Path) -> Iterator[Path]:
    yield path
    for number in range(1, _ROTATED + 1):
        yield path.with_name(f"{path.name}.{number}")


def close_but(kept: int, files: deque[OpenFile] | list[OpenFile]) -> None:
    """Close all of them but the one with this descriptor."""
    for file in files:
        if file.fd != kept:
            os.close(file.fd)
