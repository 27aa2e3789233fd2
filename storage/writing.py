"""Writing a file: whole or not at all, and the old one stays until the new one is complete."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from fleet.errors import AlreadyExists, Conflict, PathTraversal
from storage.beneath import Root, check_regular, split
from storage.draft import drafted
from storage.failures import described
from storage.folders import made_folder
from storage.paths import shown

_NEW_FILE_MODE = 0o644
_LINKS_FOLLOWED = 8


def write_file(root: Root, path: bytes, content: bytes, *, overwrite: bool = True) -> None:
    """Write `content` to `path`, making its parents; a reader sees the old file or the new one, never a part.

    Up to 8 MB are on disk when it returns. A symlink is followed while it stays in the volume. Raises AlreadyExists,
    Conflict for a folder or special file in the way, PathTraversal, QuotaExceeded (nothing of it remains).
    """
    write_stream(root, path, [content], overwrite=overwrite)


def write_stream(root: Root, path: bytes, chunks: Iterable[bytes | memoryview], *, overwrite: bool = True) -> int:
    """Like `write_file`, from chunks as they come; returns the number of bytes written."""
    for _ in range(_LINKS_FOLLOWED):
        folder, name = split(path)
        with made_folder(root, folder) as folder_fd, described(path):
            target = _link_target(folder_fd, name)
            if target is None:
                return _write_in(root, folder_fd, name, chunks, path, overwrite)
        path = folder + b"/" + target
    raise PathTraversal


def _link_target(folder_fd: int, name: bytes) -> bytes | None:
    """Where a symlink called `name` points, relative to its folder; None when there is no symlink."""
    try:
        target = os.readlink(name, dir_fd=folder_fd)
    except OSError:
        return None
    if target.startswith(b"/") or split(target)[1] in (b"", b".", b".."):
        raise PathTraversal
    return target


def _write_in(
    root: Root, folder_fd: int, name: bytes, chunks: Iterable[bytes | memoryview], path: bytes, overwrite: bool
) -> int:
    mode = _mode_to_use(folder_fd, name, path, overwrite)
    with drafted(root, folder_fd, mode) as draft:
        for chunk in chunks:
            draft.write(chunk)
        draft.publish(name, overwrite=overwrite)
        return draft.size_bytes


def _mode_to_use(folder_fd: int, name: bytes, path: bytes, overwrite: bool) -> int:
    """The permissions of the file that will be replaced, without setuid and setgid."""
    try:
        old = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return _NEW_FILE_MODE
    if not overwrite:
        raise AlreadyExists(f"File already exists at path: {shown(path)}")
    if stat.S_ISLNK(old.st_mode):
        raise Conflict("The file is being replaced by a link; try again.")
    check_regular(old.st_mode)
    return stat.S_IMODE(old.st_mode) & 0o777
