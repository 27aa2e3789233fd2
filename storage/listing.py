"""What a folder holds, for file browsers."""

from __future__ import annotations

import operator
import os
import stat
from typing import NamedTuple

from fleet.errors import Conflict
from storage.beneath import Root, opened_folder
from storage.draft import is_draft
from storage.failures import described
from storage.mimetypes import SNIFFED_BYTES, mimetype_of, special_mimetype

MOST_ENTRIES = 200_000
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


# Python decodes names just as JSON shows them here, as long as the process runs in UTF-8 mode or locale.
_name = operator.itemgetter(0)
_TYPE = 0o170000
_MAYBE_DRAFT = ".lightd-"


class Entry(NamedTuple):
    """One name in a folder. `type` is `file`, `directory` or `symlink`; `size` is in bytes, 0 for a directory."""

    name: str
    type: str
    size: int


class DetailedEntry(NamedTuple):
    """An Entry with its permissions (octal text), time of change (Unix seconds) and MIME type by content."""

    name: str
    type: str
    size: int
    mode: str
    modified_at: int
    mimetype: str


def list_folder(root: Root, path: bytes) -> list[Entry]:
    """The entries of a folder, directories first, then by name; raises NotFound, Conflict, PathTraversal."""
    with described(path), opened_folder(root.fd, path) as folder_fd:
        return [Entry(name, _kind(status.st_mode), _size(status)) for name, status in _listed(folder_fd)]


def list_detailed(root: Root, path: bytes) -> list[DetailedEntry]:
    """Like `list_folder`, with more about each entry, for which it reads the first bytes of each file."""
    with described(path), opened_folder(root.fd, path) as folder_fd:
        return [
            DetailedEntry(
                name,
                _kind(status.st_mode),
                _size(status),
                f"{stat.S_IMODE(status.st_mode):o}",
                int(status.st_mtime),
                _mimetype(folder_fd, name, status.st_mode),
            )
            for name, status in _listed(folder_fd)
        ]


def _listed(folder_fd: int) -> list[tuple[str, os.stat_result]]:
    """Names as JSON text with what stands there, in the order of a listing. Written for folders of 100,000 entries.

    Raises Conflict for a folder with more than MOST_ENTRIES: all of it is held in memory, here and by who reads it.
    """
    folders: list[tuple[str, os.stat_result]] = []
    others: list[tuple[str, os.stat_result]] = []
    with os.scandir(folder_fd) as entries:
        for count, entry in enumerate(entries, start=1):
            if count > MOST_ENTRIES:
                raise Conflict(
                    f"The folder has more than {MOST_ENTRIES} entries, too many to list; search it, or download it.",
                    code="folder_too_large",
                )
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted by the container just now
            name = entry.name
            if name.startswith(_MAYBE_DRAFT) and is_draft(os.fsencode(name)):
                continue
            (folders if status.st_mode & _TYPE == stat.S_IFDIR else others).append((name, status))
    folders.sort(key=_name)
    others.sort(key=_name)
    return folders + others


def _kind(mode: int) -> str:
    kind = mode & _TYPE
    if kind == stat.S_IFDIR:
        return "directory"
    return "symlink" if kind == stat.S_IFLNK else "file"


def _size(status: os.stat_result) -> int:
    return 0 if status.st_mode & _TYPE == stat.S_IFDIR else status.st_size


def _mimetype(folder_fd: int, name: str, mode: int) -> str:
    special = special_mimetype(mode)
    if special:
        return special
    try:
        fd = os.open(name, _LOOK, dir_fd=folder_fd)
    except OSError:
        return "application/octet-stream"
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return "application/octet-stream"
        return mimetype_of(os.read(fd, SNIFFED_BYTES), name)
    finally:
        os.close(fd)
