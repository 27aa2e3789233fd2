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

from fleet.errors import Conflict, LightdError, NotFound
from storage.beneath import Root, open_file, opened_folder
from storage.draft import TRIES, draft_name, hand_over, is_draft, swept_away
from storage.failures import described
from storage.paths import ROOT
from storage.walking import names_in

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST_SECONDS = 300.0
_STAGE = b".lightd-"


@contextmanager
def staged(root: Root) -> Iterator[int]:
    """Hold an empty staging folder open; everything still in it at the end is deleted."""
    with opened_folder(root.fd, ROOT) as root_fd, described(_STAGE):
        name, fd = _new_stage(root_fd)
        try:
            yield fd
        finally:
            try:
                empty_folder(fd)
                # A program in the container may have renamed it; empty as it is by now, it does no harm.
                with suppress(FileNotFoundError, NotADirectoryError):
                    os.rmdir(name, dir_fd=root_fd)
            finally:
                os.close(fd)  # what could not be emptied is swept: nobody holds it any more


def _new_stage(root_fd: int) -> tuple[bytes, int]:
    """Make a folder, open and locked. One that a sweep met before it was locked is swept: then there is another."""
    for _ in range(TRIES):
        name = draft_name()
        os.mkdir(name, 0o700, dir_fd=root_fd)
        with suppress(FileNotFoundError):
            fd = os.open(name, _FOLDER, dir_fd=root_fd)
            if _is_lockable(fd) and os.fstat(fd).st_nlink:
                return name, fd
            os.close(fd)
    raise swept_away()


def sweep_staging(root: Root) -> int:
    """Delete what killed processes left at the volume's root; returns how many names were removed.

    What a living process still works on is locked by it, and stays.
    """
    swept = 0
    with opened_folder(root.fd, ROOT) as root_fd:
        for name in names_in(root_fd):
            if is_draft(name):
                # A draft may have been published or removed since it was looked at.
                with _held(root_fd, name) as is_abandoned, suppress(NotFound), described(name):
                    if is_abandoned:
                        remove_in_place(root_fd, name)
                        swept += 1
    return swept


def remove_in_place(folder_fd: int, name: bytes) -> None:
    """Delete what is called `name` in an open folder, with all it holds, without taking any space for that.

    A folder is closed to the container first. Raises FileNotFoundError, and Conflict like `empty_folder`.
    """
    try:
        fd = os.open(name, _FOLDER, dir_fd=folder_fd)
    except NotADirectoryError:
        os.unlink(name, dir_fd=folder_fd)
        return
    try:
        hand_over(fd, (os.geteuid(), os.getegid()))
        os.fchmod(fd, 0o700)
        empty_folder(fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=folder_fd)


@contextmanager
def _held(root_fd: int, name: bytes) -> Iterator[bool]:
    """Hold the lock of what is called `name`, so that nobody else begins to work on it; False when somebody has it.

    What has none, such as a symlink, is not ours at all.
    """
    try:
        fd = _opened(root_fd, name)
    except (OSError, LightdError):
        yield True
        return
    try:
        yield _is_lockable(fd)
    finally:
        os.close(fd)


def _is_lockable(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _opened(root_fd: int, name: bytes) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=root_fd)
    except NotADirectoryError:
        return open_file(root_fd, name, follow=False)


def empty_folder(stage_fd: int) -> None:
    """Delete everything in an open folder, however deep, with a fixed number of descriptors.

    Folders that hold folders are first moved up into `stage_fd`, so nothing is ever deeper than two levels.
    Raises Conflict when somebody keeps adding files, and OSError when nothing can be moved up for want of space.
    """
    deadline = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < deadline:
        found, moved = _go_through(stage_fd, stage_fd)
        if not found:
            return
        if not moved:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise Conflict("Files keep appearing in what is being deleted; stop the container first.")


def _go_through(stage_fd: int, folder_fd: int) -> tuple[int, int]:
    """Remove what an open folder holds, as far as that goes at once; how much was found, and was not left as it is."""
    found = moved = 0
    with os.scandir(folder_fd) as entries:
        for entry in entries:
            found += 1
            moved += _remove(stage_fd, folder_fd, entry)
    return found, moved


def _remove(stage_fd: int, folder_fd: int, entry: os.DirEntry[str]) -> bool:
    """Delete an entry, or bring it nearer to that; False when there was no space to move it up."""
    with suppress(FileNotFoundError):
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=folder_fd)
        elif not _rmdir(folder_fd, entry.name):
            if folder_fd != stage_fd:
                return _move_up(stage_fd, folder_fd, entry.name)
            return _empty_one(stage_fd, entry.name)
    return True


def _empty_one(stage_fd: int, name: str) -> bool:
    fd = os.open(name, _FOLDER, dir_fd=stage_fd)
    try:
        _, moved = _go_through(stage_fd, fd)
    finally:
        os.close(fd)
    return _rmdir(stage_fd, name) or moved > 0


def _move_up(stage_fd: int, folder_fd: int, name: str) -> bool:
    try:
        os.rename(name, draft_name(), src_dir_fd=folder_fd, dst_dir_fd=stage_fd)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


def _rmdir(folder_fd: int, name: str) -> bool:
    try:
        os.rmdir(name, dir_fd=folder_fd)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True
