"""Reading the log files of one engine container: across rotations, and again from a known position.

The engine appends to `<id>-json.log`; at its size limit that becomes `….1`, the former `….1` becomes
`….2`, and a new file begins. A reader keeps its file open, so it finishes it whatever it is called by then, and
those that come after it.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from fleet.errors import EngineUnavailable
from worker.console.entries import Entry, read_entries, stamp_in_file
from worker.console.files_ahead import FilesAhead, OpenFile, close_but, open_files
from worker.console.position import Position, nanoseconds

KEPT_FILES = 3
"""How many files of a container's log the engine is told to keep."""


class LogFile:
    """A cursor in a container's log. `gap` is set when, before what was read last, output was rotated away unread.

    `is_behind` says that the last `read` left something that had been written when it began.
    """

    def __init__(self, path: Path, start: Position) -> None:
        self.path = path
        self.gap = False
        self.is_behind = True
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
                self._ahead.look()
                self.is_behind = self.is_behind or bool(self._ahead)
                entries = self._not_passed(read_entries(block))
                if entries:
                    return entries
            elif not self._next_file():
                return []

    def hold_on(self) -> None:
        """To be called while reading has to wait: what the engine writes meanwhile is not rotated away."""
        if self._fd >= 0:
            self._ahead.look()

    def close(self) -> None:
        """Give the files back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._ahead.close()
            self._fd = -1

    def _whole_lines(self, max_bytes: int) -> bytes:
        if self._fd < 0:
            return b""
        left = os.fstat(self._fd).st_size - self._offset
        self.is_behind = left > max_bytes
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
        if os.fstat(self._fd).st_size < self._offset:
            self._offset, self.gap = 0, True
            return True
        self._ahead.look()
        if not self._ahead:
            return False
        if not self._has_more():
            self._replace(self._ahead.take())
        return True

    def _has_more(self) -> bool:
        return b"\n" in os.pread(self._fd, 1 << 20, self._offset)

    def _replace(self, newer: OpenFile) -> None:
        os.close(self._fd)
        self._fd, self._offset = newer.fd, 0
        self.gap = self.gap or newer.after_gap

    def _open_oldest(self) -> bool:
        files = list(open_files(self.path))
        if not files:
            return False
        self._stand(files[-1].fd, 0)
        self.gap = self.gap or (self._passed_nanoseconds < 0 and len(files) >= KEPT_FILES)
        close_but(self._fd, files)
        return True

    def _stand(self, fd: int, offset: int) -> None:
        self._fd, self._offset = fd, offset
        self._ahead = FilesAhead(self.path, os.fstat(fd).st_ino)

    def _seek(self, start: Position) -> None:
        """Stand behind the entry that `start` names; where that is gone, before the first later one."""
        files = list(open_files(self.path))
        needle = stamp_in_file(start.stamp)
        places: list[tuple[int, int]] = []
        for fd in (file.fd for file in files):
            places = [(fd, end) for end in _ends_of_lines(fd, needle)] + places
            if places and not _begins_file(fd, needle):
                break
        if places:
            self._stand(*places[min(start.ordinal, len(places)) - 1])
            close_but(self._fd, files)
            return
        close_but(-1, files)
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
