"""Resolving a path beneath a folder step by step, for when the kernel does not get to do it at once.

No step ever goes up: `..` goes back to the folder that the way came through, which is held open.
"""

from __future__ import annotations

import errno
import os
import stat

from fleet.errors import PathTraversal, Unavailable

_MOST_LINKS = 40  # as many as the kernel follows
_DEEPEST = 256
_HANDLE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def open_in_steps(folder_fd: int, path: bytes, flags: int) -> int:
    """Open `path` below `folder_fd` as `storage.beneath.open_beneath` does, whatever is renamed on this host meanwhile.

    Raises PathTraversal, OSError, and Unavailable for a path of more than 256 folders.
    """
    way = _Way(folder_fd)
    try:
        return way.open(path, flags)
    except OSError as error:
        code = error.errno or 0
        raise OSError(code, os.strerror(code), os.fsdecode(path)) from None
    finally:
        way.close()


class _Way:
    """The folders that a path came through, each held open; the last one is where it is now. Needs its `close`."""

    def __init__(self, folder_fd: int) -> None:
        self._folders = [folder_fd]
        self._links = 0

    def open(self, path: bytes, flags: int) -> int:
        if not path:
            raise OSError(errno.ENOENT, "")
        names, slash = _names(path), _wants_folder(path)
        follows, flags = bool(slash) or not flags & os.O_NOFOLLOW, flags | slash
        while names:
            name = names.pop(0)
            if name == b"..":
                self._back()
                continue
            handle = os.open(name, _HANDLE, dir_fd=self._folders[-1])
            try:
                mode = os.fstat(handle).st_mode
                if stat.S_ISLNK(mode) and (names or follows):
                    target = self._target(handle)
                    flags |= 0 if names else _wants_folder(target)
                    names = _names(target) + names
                elif names:
                    self._enter(handle, mode)
                else:
                    return _opened(handle, mode, flags)
            finally:
                os.close(handle)
        return os.open(b".", flags | os.O_CLOEXEC, dir_fd=self._folders[-1])

    def close(self) -> None:
        """Let go of all folders but the first, which is the caller's."""
        while len(self._folders) > 1:
            os.close(self._folders.pop())

    def _back(self) -> None:
        if len(self._folders) == 1:
            raise PathTraversal
        os.close(self._folders.pop())

    def _enter(self, handle: int, mode: int) -> None:
        if not stat.S_ISDIR(mode):
            raise OSError(errno.ENOTDIR, "")
        if len(self._folders) >= _DEEPEST:
            raise Unavailable("The folders on this path are being moved all the time; try again.")
        self._folders.append(os.dup(handle))

    def _target(self, handle: int) -> bytes:
        """Where a symlink points to; absolute ones lead out."""
        self._links += 1
        target = os.readlink(b"", dir_fd=handle)
        if self._links > _MOST_LINKS or target.startswith(b"/"):
            raise PathTraversal
        return target


def _names(path: bytes) -> list[bytes]:
    if path.startswith(b"/"):
        raise PathTraversal
    return [name for name in path.split(b"/") if name not in (b"", b".")]


def _wants_folder(path: bytes) -> int:
    return os.O_DIRECTORY if path.rpartition(b"/")[2] in (b"", b".", b"..") else 0


def _opened(handle: int, mode: int, flags: int) -> int:
    """What the last name stands for, with the flags that were asked for."""
    if flags & os.O_DIRECTORY and not stat.S_ISDIR(mode):
        raise OSError(errno.ENOTDIR, "")
    if flags & os.O_PATH:
        return os.dup(handle)
    if stat.S_ISLNK(mode):
        raise PathTraversal
    return os.open(f"/proc/self/fd/{handle}", (flags & ~os.O_NOFOLLOW) | os.O_CLOEXEC)
