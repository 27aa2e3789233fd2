"""Being told by the kernel that a container's log has grown (inotify(7)), instead of looking again and again."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_MODIFY, _MOVED_TO, _CREATE = 0x2, 0x80, 0x100
_OVERFLOW = 0x4000
_HEADER = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """Tells in which of the watched folders files were written, renamed or made. Close it when done."""

    def __init__(self) -> None:
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._folders: dict[int, Path] = {}

    def fileno(self) -> int:
        """For select: readable when something has changed."""
        return self._fd

    def add(self, folder: Path) -> None:
        """Watch a folder; raises OSError when it does not exist."""
        number = _libc.inotify_add_watch(self._fd, os.fsencode(folder), _MODIFY | _MOVED_TO | _CREATE)
        self._folders[_checked(number)] = folder

    def remove(self, folder: Path) -> None:
        """Watch a folder no more; fine when it is gone."""
        for number, known in list(self._folders.items()):
            if known == folder:
                del self._folders[number]
                _libc.inotify_rm_watch(self._fd, number)

    def changed(self) -> set[Path]:
        """The folders in which something has changed since the last call; all, if the kernel lost count."""
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return set()
        found: set[Path] = set()
        at = 0
        while at < len(data):
            number, mask, _, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size + length
            if mask & _OVERFLOW:
                return set(self._folders.values())
            if number in self._folders:
                found.add(self._folders[number])
        return found

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"inotify: {os.strerror(number)}")
    return result
