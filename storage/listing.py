"""What a folder holds, for file browsers."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import NamedTuple

from storage.beneath import Root, opened_folder
from storage.draft import is_draft
from storage.failures import described
from storage.mimetypes import SNIFFED_BYTES, mimetype_of, special_mimetype
from storage.paths import shown

_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


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
    return [Entry(name, kind, size) for name, kind, size, _ in _listed(root, path)]


def list_detailed(root: Root, path: bytes) -> list[DetailedEntry]:
    """Like `list_folder`, with more about each entry, for which it reads the first bytes of each file."""
    with described(path), opened_folder(root.fd, path) as folder_fd:
        return [
            DetailedEntry(
                name,
                kind,
                size,
                f"{stat.S_IMODE(status.st_mode):o}",
                int(status.st_mtime),
                _mimetype(folder_fd, name, status.st_mode),
            )
            for name, kind, size, status in _listed(root, path)
        ]


def _listed(root: Root, path: bytes) -> list[tuple[str, str, int, os.stat_result]]:
    with described(path), opened_folder(root.fd, path) as folder_fd, os.scandir(folder_fd) as entries:
        rows = []
        for entry in entries:
            raw = os.fsencode(entry.name)
            if is_draft(raw):
                continue
            with suppress(FileNotFoundError):  # deleted by the container just now
                status = entry.stat(follow_symlinks=False)
                kind = _kind(status.st_mode)
                size = 0 if kind == "directory" else status.st_size
                rows.append((kind != "directory", raw, (shown(raw), kind, size, status)))
    rows.sort(key=lambda row: row[:2])
    return [row[2] for row in rows]


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(mode) else "file"


def _mimetype(folder_fd: int, name: str, mode: int) -> str:
    special = special_mimetype(mode)
    if special:
        return special
    try:
        fd = os.open(name.encode("utf-8", "surrogateescape"), _LOOK, dir_fd=folder_fd)
    except OSError:
        return "application/octet-stream"
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return "application/octet-stream"
        return mimetype_of(os.read(fd, SNIFFED_BYTES), name)
    finally:
        os.close(fd)
