"""A hidden folder at a volume's root in which trees are put together, and taken apart.

It belongs to us and is closed to the container, so what is built there cannot be tampered with. Whatever is in it
when the block ends is removed; what a killed process left is removed by `sweep_staging`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fleet.errors import Conflict, LightdError
from storage.beneath import Root, open_file, opened_folder
from storage.draft import draft_name, is_draft
from storage.failures import described
from storage.paths import ROOT

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST_SECONDS = 300.0


@contextmanager
def staged(root: Root) -> Iterator[int]:
    """Hold an empty staging folder open; everything still in it at the end is deleted."""
    name = draft_name()
    with opened_folder(root.fd, ROOT) as root_fd, described(name):
        os.mkdir(name, 0o700, dir_fd=root_fd)
        try:
            fd = os.open(name, _FOLDER, dir_fd=root_fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield fd
            finally:
                empty_folder(fd)
                os.close(fd)
        finally:
            # A program in the container may have renamed it; empty as it is by now, it does no harm.
            with suppress(FileNotFoundError, NotADirectoryError):
                os.rmdir(name, dir_fd=root_fd)


def sweep_staging(root: Root) -> int:
    """Delete what killed processes left at the volume's root; returns how many names were removed.

    What a living process still works on is locked by it, and stays.
    """
    swept = 0
    with opened_folder(root.fd, ROOT) as root_fd:
        with os.scandir(root_fd) as entries:
            leftovers = [name for entry in entries if is_draft(name := os.fsencode(entry.name))]
        for name in leftovers:
            if _is_abandoned(root_fd, name):
                # A draft may have been published or removed since it was looked at.
                with staged(root) as stage_fd, suppress(FileNotFoundError):
                    os.rename(name, b"leftover", src_dir_fd=root_fd, dst_dir_fd=stage_fd)
                    swept += 1
    return swept


def _is_abandoned(root_fd: int, name: bytes) -> bool:
    """Whether nobody holds the lock of what is called `name`; what has none, such as a symlink, is not ours at all."""
    try:
        fd = _opened(root_fd, name)
    except (OSError, LightdError):
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _opened(root_fd: int, name: bytes) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=root_fd)
    except NotADirectoryError:
        return open_file(root_fd, name, follow=False)


def empty_folder(stage_fd: int) -> None:
    """Delete everything in an open folder, however deep, with a fixed number of descriptors.

    Folders that hold folders are first moved up into `stage_fd`, so nothing is ever deeper than two levels.
    Raises Conflict when somebody keeps adding files.
    """
    deadline = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < deadline:
        with os.scandir(stage_fd) as entries:
            found = False
            for entry in entries:
                found = True
                _remove(stage_fd, stage_fd, entry)
        if not found:
            return
    raise Conflict("Files keep appearing in what is being deleted; stop the container first.")


def _remove(stage_fd: int, folder_fd: int, entry: os.DirEntry[str]) -> None:
    with suppress(FileNotFoundError):
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=folder_fd)
            return
        if _rmdir(folder_fd, entry.name):
            return
        if folder_fd == stage_fd:
            _empty_one(stage_fd, entry.name)
        else:
            os.rename(entry.name, draft_name(), src_dir_fd=folder_fd, dst_dir_fd=stage_fd)


def _empty_one(stage_fd: int, name: str) -> None:
    fd = os.open(name, _FOLDER, dir_fd=stage_fd)
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                _remove(stage_fd, fd, entry)
    finally:
        os.close(fd)
    _rmdir(stage_fd, name)


def _rmdir(folder_fd: int, name: str) -> bool:
    try:
        os.rmdir(name, dir_fd=folder_fd)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True
