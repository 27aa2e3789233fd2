"""Moving an unpacked tree to where it was wanted: folders are merged, files replaced, all of it or nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from fleet.errors import Conflict
from storage.beneath import Root
from storage.failures import described
from storage.folders import made_folder
from storage.paths import shown

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def merge(root: Root, tree_fd: int, destination: bytes) -> None:
    """Move everything in `tree_fd` into the folder `destination`, which is made when missing.

    Raises Conflict, before anything is moved, when a file stands where a folder must be or the other way round.
    """
    with made_folder(root, destination) as folder_fd, described(destination):
        _check(tree_fd, folder_fd, b"")
        _move(tree_fd, folder_fd)


def _check(tree_fd: int, folder_fd: int, path: bytes) -> None:
    for name, incoming, there in _pairs(tree_fd, folder_fd):
        if there is None:
            continue
        if stat.S_ISDIR(incoming) != stat.S_ISDIR(there):
            kind = "folder" if stat.S_ISDIR(there) else "file or link"
            raise Conflict(f"A {kind} stands in the way of the archive's content: {shown(path + name)}")
        if stat.S_ISDIR(incoming):
            with _inner(tree_fd, name) as inner_tree, _inner(folder_fd, name) as inner_folder:
                _check(inner_tree, inner_folder, path + name + b"/")


def _move(tree_fd: int, folder_fd: int) -> None:
    for name, incoming, there in _pairs(tree_fd, folder_fd):
        if there is not None and stat.S_ISDIR(incoming):
            with _inner(tree_fd, name) as inner_tree, _inner(folder_fd, name) as inner_folder:
                _move(inner_tree, inner_folder)
        else:
            os.rename(name, name, src_dir_fd=tree_fd, dst_dir_fd=folder_fd)


def _pairs(tree_fd: int, folder_fd: int) -> Iterator[tuple[bytes, int, int | None]]:
    """Each name in the tree with its own mode and the mode of what stands at its new place, if anything does."""
    with os.scandir(tree_fd) as entries:
        names = [os.fsencode(entry.name) for entry in entries]
    for name in names:
        incoming = os.stat(name, dir_fd=tree_fd, follow_symlinks=False).st_mode
        try:
            there = os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            yield name, incoming, None
        else:
            yield name, incoming, there


@contextmanager
def _inner(folder_fd: int, name: bytes) -> Iterator[int]:
    fd = os.open(name, _FOLDER, dir_fd=folder_fd)
    try:
        yield fd
    finally:
        os.close(fd)
