"""Making folders, for their own sake and as the parents of what is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from storage.beneath import Root, open_beneath
from storage.draft import folder_mode, hand_over
from storage.failures import described
from storage.paths import ROOT
from storage.room import take_one

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_FOLDER_MODE = 0o755


def make_folder(root: Root, path: bytes) -> None:
    """Make a folder and its parents; one that exists already is fine.

    Raises Conflict where a file is in the way, PathTraversal, QuotaExceeded.
    """
    with made_folder(root, path):
        return


@contextmanager
def made_folder(root: Root, path: bytes) -> Iterator[int]:
    """Hold the folder at `path` open, made with its parents where it was missing."""
    with described(path):
        fd = _open_or_make(root, path)
    try:
        yield fd
    finally:
        os.close(fd)


def _open_or_make(root: Root, path: bytes) -> int:
    with suppress(FileNotFoundError):
        return open_beneath(root.fd, path, _FOLDER)
    names = path.split(b"/")
    fd = open_beneath(root.fd, ROOT, _FOLDER)
    for depth, name in enumerate(names, start=1):
        above = fd
        try:
            fd = _step_or_make(root, above, b"/".join(names[:depth]), name)
        finally:
            os.close(above)
    return fd


def _step_or_make(root: Root, above_fd: int, path: bytes, name: bytes) -> int:
    """Open one more folder of the path, or make it. A link is resolved from the root: it may lead elsewhere in it."""
    try:
        return open_beneath(above_fd, name, _FOLDER | os.O_NOFOLLOW)
    except FileNotFoundError:
        with suppress(FileExistsError):
            return make_in(root, above_fd, name)
    except NotADirectoryError:
        pass  # a link, which O_NOFOLLOW does not take for a folder, or a file
    return open_beneath(root.fd, path, _FOLDER)


def link_in(root: Root, above_fd: int, name: bytes, target: bytes) -> None:
    """Make one symlink; raises FileExistsError, QuotaExceeded."""
    take_one(root.room)
    os.symlink(target, name, dir_fd=above_fd)
    if os.geteuid() == 0:
        os.chown(name, *root.owner, dir_fd=above_fd, follow_symlinks=False)


def make_in(root: Root, above_fd: int, name: bytes, mode: int = _FOLDER_MODE) -> int:
    """Make one folder and return it open; raises FileExistsError, QuotaExceeded."""
    take_one(root.room)
    os.mkdir(name, 0o700, dir_fd=above_fd)
    fd = os.open(name, _FOLDER | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above_fd)
    try:
        hand_over(fd, root.owner)
        os.fchmod(fd, folder_mode(mode))
    except OSError:
        os.close(fd)
        raise
    return fd
