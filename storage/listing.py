"""What a folder holds, for file browsers."""

from __future__ import annotations

import operator
import os
import stat
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from fleet.errors import Conflict
from storage.beneath import Root, opened_folder
from storage.draft import is_draft
from storage.failures import described
from storage.mimetypes import SNIFFED_BYTES, mimetype_of, special_mimetype

MOST_ENTRIES = 200_000
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


_TYPE = 0o170000
_KINDS = {stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
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


_Listed = TypeVar("_Listed", Entry, DetailedEntry)

# Python decodes names just as JSON shows them here, as long as the process runs in UTF-8 mode or locale.
_by_name = operator.itemgetter(0)


def list_folder(root: Root, path: bytes) -> list[Entry]:
    """The entries of a folder, directories first, then by name; raises NotFound, Conflict, PathTraversal."""
    with described(path), opened_folder(root.fd, path) as folder_fd:
        return _listed(folder_fd, lambda entry, _: entry)


def list_detailed(root: Root, path: bytes) -> list[DetailedEntry]:
    """Like `list_folder`, with more about each entry, for which it reads the first bytes of each file."""
    with described(path), opened_folder(root.fd, path) as folder_fd:
        return _listed(
            folder_fd,
            lambda entry, status: DetailedEntry(
                *entry,
                f"{stat.S_IMODE(status.st_mode):o}",
                int(status.st_mtime),
                _mimetype(folder_fd, entry.name, status.st_mode),
            ),
        )


def _listed(folder_fd: int, told: Callable[[Entry, os.stat_result], _Listed]) -> list[_Listed]:
    """What `told` makes of each entry, in the order of a listing. Written for folders of 100,000 entries.

    Raises Conflict for a folder with more than MOST_ENTRIES: all of it is held in memory, here and by who reads it.
    """
    folders: list[_Listed] = []
    others: list[_Listed] = []
    with os.scandir(folder_fd) as entries:
        for count, entry in enumerate(entries, start=1):
            if count > MOST_ENTRIES:
                raise Conflict(
                    f"The folder has more than {MOST_ENTRIES} entries, too many to list; search it, or download it.",
                    code="folder_too_large",
                )
            name = entry.name
            if name.startswith(_MAYBE_DRAFT) and is_draft(os.fsencode(name)):
                continue
            try:
                status = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted by the container just now
            kind = _KINDS.get(status.st_mode & _TYPE, "file")
            if kind == "directory":
                folders.append(told(Entry(name, kind, 0), status))
            else:
                others.append(told(Entry(name, kind, status.st_size), status))
    folders.sort(key=_by_name)
    others.sort(key=_by_name)
    return folders + others


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
