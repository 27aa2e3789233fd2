"""How much an archive may unfold to: bombs are stopped by what really comes out, not by what headers say."""

from __future__ import annotations

import os

from fleet.errors import Invalid, QuotaExceeded

MOST_ENTRIES = 500_000
_MIB = 1024 * 1024
# Below this no ratio is suspicious.
_HARMLESS_BYTES = 64 * _MIB
_LARGEST_RATIO = 500
# Links and folders are remembered to the end.
_REMEMBERED_BYTES = 64 * _MIB
# Holes take no space, so a sparse file may be larger than its volume; reading zeros for ever is another matter.
_LOGICAL_FACTOR = 16


def most_logical_bytes(fd: int) -> int:
    """How much content, holes and all, an archive may have that is made or opened in the volume of an open file."""
    volume = os.fstatvfs(fd)
    return _LOGICAL_FACTOR * volume.f_blocks * volume.f_frsize


class Allowance:
    """Counts entries and bytes while the archive in an open file is unpacked into its volume."""

    def __init__(self, archive_fd: int, free_bytes: int) -> None:
        self._archive_bytes = os.fstat(archive_fd).st_size
        self._most_logical_bytes = most_logical_bytes(archive_fd)
        self._free_bytes = free_bytes
        self.entries = 0
        self.folders = 0
        self.logical_bytes = 0
        self.stored_bytes = 0
        self._passed_bytes = 0
        self._remembered_bytes = 0

    def take_entry(self) -> None:
        """One more member; raises Invalid when there are too many."""
        self.entries += 1
        if self.entries > MOST_ENTRIES:
            raise too_many_entries()

    def take_folder(self) -> None:
        """One more folder that is made, be it only named in the path of a member; raises Invalid as for members."""
        self.folders += 1
        if self.folders > MOST_ENTRIES:
            raise too_many_entries()

    def remember(self, size_bytes: int) -> None:
        """Names that are kept in memory until all is unpacked; raises Invalid when they are too long together."""
        self._remembered_bytes += size_bytes
        if self._remembered_bytes > _REMEMBERED_BYTES:
            raise _bomb("the names of its links and folders are too long")

    def pass_over(self, size_bytes: int) -> None:
        """Headers, padding and what else is read and is nobody's content; raises Invalid for a bomb."""
        self._passed_bytes += size_bytes
        if self._passed_bytes > max(_HARMLESS_BYTES, self._most_logical_bytes):
            raise _bomb("it unfolds to many times the volume's size")

    def take_bytes(self, size_bytes: int, *, stored: bool) -> None:
        """More content, `stored` unless it is a hole.

        Raises Invalid for a bomb, QuotaExceeded when it cannot fit.
        """
        self.logical_bytes += size_bytes
        if self.logical_bytes > self._most_logical_bytes:
            raise _bomb("it unfolds to many times the volume's size")
        if stored:
            self.stored_bytes += size_bytes
        if self.stored_bytes > max(_HARMLESS_BYTES, _LARGEST_RATIO * self._archive_bytes):
            raise _bomb(f"it unfolds to more than {_LARGEST_RATIO} times its size")
        if self.stored_bytes > self._free_bytes:
            raise QuotaExceeded("The archive's content does not fit into the volume; nothing of it was kept.")


def too_many_entries() -> Invalid:
    """The error for an archive with more than MOST_ENTRIES members."""
    return _bomb(f"it holds more than {MOST_ENTRIES} entries")


def _bomb(reason: str) -> Invalid:
    return Invalid(f"The archive was refused: {reason}.", code="archive_bomb")
