"""Going through a tree by descriptors: what moves away meanwhile is missed, but nothing outside is ever met."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from fleet.errors import Invalid
from storage.draft import is_draft

DEEPEST_FOLDER = 200
_SORTED_AT_ONCE = 10_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOVED_AWAY = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True, slots=True)
class Found:
    """Something met on the way: its path from the start, and how to reach it: a folder's descriptor and a name there.

    The descriptor is open until the next one is asked for.
    """

    path: bytes
    folder_fd: int
    name: bytes
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder; what is in it comes next."""
        return stat.S_ISDIR(self.status.st_mode)


def walk(folder_fd: int, prefix: bytes = b"") -> Iterator[Found]:
    """Everything below an open folder, a folder before its content, by name; symlinks are not followed.

    Of a folder with more entries than are sorted at once, each such lot comes by name.
    `prefix` stands before each path. Raises Invalid where folders are nested too deep.
    """
    yield from _walk(folder_fd, prefix, 0)


def walk_one(folder_fd: int, name: bytes, path: bytes) -> Iterator[Found]:
    """What is called `name` in an open folder, and everything below it; nothing when it has vanished.

    Raises Invalid where `path`, which stands before all others, goes on too deep.
    """
    found = _look(folder_fd, name, path)
    if found is None:
        return
    yield found
    if found.is_folder:
        yield from _walk_into(found, path.count(b"/"))


def _walk(folder_fd: int, prefix: bytes, depth: int) -> Iterator[Found]:
    if depth > DEEPEST_FOLDER:
        raise Invalid(f"Folders are nested more than {DEEPEST_FOLDER} deep here.")
    for name in names_in(folder_fd):
        if is_draft(name):
            continue
        found = _look(folder_fd, name, prefix + name)
        if found is not None:
            yield found
            if found.is_folder:
                yield from _walk_into(found, depth)


def names_in(folder_fd: int) -> Iterator[bytes]:
    """The names in an open folder, sorted as far as they fit into little memory: a container may make millions."""
    with os.scandir(folder_fd) as entries:
        while names := sorted(os.fsencode(entry.name) for entry in islice(entries, _SORTED_AT_ONCE)):
            yield from names
            names.clear()  # before the next lot is read


def _look(folder_fd: int, name: bytes, path: bytes) -> Found | None:
    with suppress(FileNotFoundError):
        return Found(path, folder_fd, name, os.stat(name, dir_fd=folder_fd, follow_symlinks=False))
    return None


def _walk_into(found: Found, depth: int) -> Iterator[Found]:
    try:
        fd = os.open(found.name, _FOLDER, dir_fd=found.folder_fd)
    except OSError as error:
        if error.errno not in _MOVED_AWAY:
            raise
        return
    try:
        yield from _walk(fd, found.path + b"/", depth + 1)
    finally:
        os.close(fd)
