"""Reading the log files of one engine container: across rotations, and again from a known position.

The engine appends to `<id>-json.log`; at its size limit that becomes `….1`, the former `….1` becomes
`….2`, and a new file begins. A reader keeps its file open, so it finishes it whatever it is called by then.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from fleet.errors import EngineUnavailable
from worker.console.entries import Entry, read_entries, stamp_in_file
from worker.console.position import Position, nanoseconds

KEPT_FILES = 3
"""How many files of a container's log the engine is told to keep."""

_ROTATED = 9


class LogFile:
    """A cursor in a container's log. `gap` is set when, before what was read last, output was rotated away unread."""

    def __init__(self, path: Path, start: Position) -> None:
        self.path = path
        self.gap = False
        self._fd = -1
        self._offset = 0
        self._passed_nanoseconds = -1
        if start.stamp:
            self._seek(start)
        else:
            self._open_oldest()

    def read(self, max_bytes: int) -> list[Entry]:
        """The next entries, from about `max_bytes` of log; empty when nothing more has been written yet."""
        while True:
            block = self._whole_lines(max_bytes)
            if block:
                entries = self._not_passed(read_entries(block))
                if entries:
                    return entries
            elif not self._next_file():
                return []

    def close(self) -> None:
        """Give the file back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _whole_lines(self, max_bytes: int) -> bytes:
        if self._fd < 0:
            return b""
        left = os.fstat(self._fd).st_size - self._offset
        block = os.pread(self._fd, min(max_bytes, left), self._offset) if left > 0 else b""
        end = block.rfind(b"\n") + 1
        if not end and len(block) == max_bytes:
            return self._whole_lines(2 * max_bytes)
        self._offset += end
        return block[:end]

    def _next_file(self) -> bool:
        """Go on to the file after this one, if the engine has begun it and this one is read to its end."""
        if self._fd < 0:
            return self._open_oldest()
        status = os.fstat(self._fd)
        if status.st_size < self._offset:
            self._offset, self.gap = 0, True
            return True
        if self._is_newest(status.st_ino):
            return False
        files = list(self._files())
        try:
            newer = _newer_than(status.st_ino, files)
            if newer is None or self._has_more():
                return newer is not None
            self.gap = self._replace(newer) or self.gap
            return True
        finally:
            _close_but(self._fd, files)

    def _is_newest(self, inode: int) -> bool:
        """The quick answer, for nearly always."""
        try:
            return self.path.stat().st_ino == inode
        except FileNotFoundError:
            return False

    def _has_more(self) -> bool:
        return b"\n" in os.pread(self._fd, 1 << 20, self._offset)

    def _replace(self, newer: tuple[int, bool]) -> bool:
        self.close()
        self._fd, missed = newer
        self._offset = 0
        return missed

    def _files(self) -> Iterator[tuple[int, int]]:
        """`(descriptor, inode)` of the log's files, newest first; the caller closes them."""
        names = [self.path, *(self.path.with_name(f"{self.path.name}.{n}") for n in range(1, _ROTATED + 1))]
        for name in names:
            try:
                fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                if name is self.path:
                    continue
                return
            yield fd, os.fstat(fd).st_ino

    def _open_oldest(self) -> bool:
        files = list(self._files())
        if not files:
            return False
        self._fd, self._offset = files[-1][0], 0
        self.gap = self.gap or (self._passed_nanoseconds < 0 and len(files) >= KEPT_FILES)
        _close_but(self._fd, files)
        return True

    def _seek(self, start: Position) -> None:
        """Stand behind the entry that `start` names; where that is gone, before the first later one."""
        files = list(self._files())
        needle = stamp_in_file(start.stamp)
        places: list[tuple[int, int]] = []
        for fd, _ in files:
            places = [(fd, end) for end in _ends_of_lines(fd, needle)] + places
            if places and not _begins_file(fd, needle):
                break
        if places:
            self._fd, self._offset = places[min(start.ordinal, len(places)) - 1]
            _close_but(self._fd, files)
            return
        _close_but(-1, files)
        self._passed_nanoseconds = nanoseconds(start.stamp)
        self._open_oldest()

    def _not_passed(self, entries: list[Entry]) -> list[Entry]:
        if self._passed_nanoseconds < 0 or not entries:
            return entries
        first = nanoseconds(entries[0].stamp)
        later = [entry for entry in entries if nanoseconds(entry.stamp) > self._passed_nanoseconds]
        self.gap = self.gap or first > self._passed_nanoseconds
        if later:
            self._passed_nanoseconds = -1
        return later


def readable_log(path: str) -> Path:
    """The path of a container's log as the engine names it; raises EngineUnavailable when it cannot be read here."""
    found = Path(path)
    if os.access(found.parent, os.R_OK | os.X_OK):
        return found
    raise EngineUnavailable(
        f"The engine's log folder {found.parent.parent} cannot be read; Lightd needs it to show consoles:"
        " run it on the engine's own host as root, or mount that folder at the same place."
    )


def _newer_than(inode: int, files: list[tuple[int, int]]) -> tuple[int, bool] | None:
    """The file that follows the one with this inode, and whether others may have been between; None for none."""
    inodes = [number for _, number in files]
    if not files or inodes[0] == inode:
        return None
    if inode not in inodes:
        return files[-1][0], True
    return files[inodes.index(inode) - 1][0], False


def _ends_of_lines(fd: int, needle: bytes) -> list[int]:
    """Offsets behind the lines that end with `needle`; equal stamps stand next to each other."""
    if not os.fstat(fd).st_size:
        return []
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as content:
        ends: list[int] = []
        at = content.rfind(needle)
        while at >= 0:
            ends.insert(0, at + len(needle) + 1)
            line = content.rfind(b"\n", 0, at) + 1
            before = line - len(needle) - 1
            at = before if before >= 0 and content[before : line - 1] == needle else -1
        return ends


def _begins_file(fd: int, needle: bytes) -> bool:
    """Whether the first line of the file ends with `needle`, so that the file before may have the same stamp."""
    block = os.pread(fd, 1 << 17, 0)
    return block.partition(b"\n")[0].endswith(needle)


def _close_but(kept: int, files: list[tuple[int, int]]) -> None:
    for fd, _ in files:
        if fd != kept:
            os.close(fd)
