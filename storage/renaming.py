"""Renaming, deleting and changing permissions: what acts on names rather than on content."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fleet.errors import AlreadyExists, Invalid, NotFound, QuotaExceeded, invalid_field
from storage.beneath import Root, opened, opened_folder, rename_new, split
from storage.copying import check_free
from storage.draft import draft_name
from storage.failures import described
from storage.folders import made_folder
from storage.paths import outermost, shown
from storage.staging import remove_in_place, staged

_MODE = re.compile(r"0?[0-7]{3}")


def rename(root: Root, old: bytes, new: bytes) -> None:
    """Move a file, folder or symlink to a free path in the volume, whose parents are made.

    Raises NotFound, AlreadyExists, PathTraversal, and Invalid for a folder moved into itself.
    """
    if new.startswith(old + b"/"):
        raise Invalid("A folder cannot be moved into itself.")
    folder, name = split(old)
    with described(old), opened_folder(root.fd, folder) as from_fd:
        os.stat(name, dir_fd=from_fd, follow_symlinks=False)
        check_free(root, new)
        to_folder, to_name = split(new)
        with made_folder(root, to_folder) as to_fd:
            try:
                rename_new(from_fd, name, to_fd, to_name)
            except FileExistsError as error:
                raise AlreadyExists(f"File already exists at path: {shown(new)}") from error


def delete(root: Root, paths: Sequence[bytes]) -> int:
    """Delete files, symlinks (not what they point to) and folders with all they hold; returns how many were named.

    What was named disappears at once, before its content is taken apart; in a full volume one after the other.
    Raises NotFound, before anything is deleted, when one of the paths is missing.
    """
    chosen = outermost(paths)
    for path in chosen:
        folder, name = split(path)
        with described(path), opened_folder(root.fd, folder) as folder_fd:
            os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    try:
        _delete_at_once(root, chosen)
    except QuotaExceeded:  # in a full volume there is no space for a staging folder either
        _delete_in_turn(root, chosen)
    return len(chosen)


def _delete_at_once(root: Root, paths: Sequence[bytes]) -> None:
    with staged(root) as stage_fd:
        for path in paths:
            folder, name = split(path)
            with described(path), opened_folder(root.fd, folder) as folder_fd:
                os.rename(name, draft_name(), src_dir_fd=folder_fd, dst_dir_fd=stage_fd)


def _delete_in_turn(root: Root, paths: Sequence[bytes]) -> None:
    for path in paths:
        folder, name = split(path)
        with suppress(NotFound), described(path), opened_folder(root.fd, folder) as folder_fd:
            remove_in_place(folder_fd, name)


def change_mode(root: Root, path: bytes, mode: str) -> None:
    """Set permissions, given as three octal digits, of a file or folder; a symlink is followed inside the volume.

    Raises Invalid for anything else in `mode`, which rules out setuid, NotFound, PathTraversal.
    """
    if not _MODE.fullmatch(mode):
        raise invalid_field("mode", "Must be three octal digits, such as 644.")
    with described(path), opened(root.fd, path, os.O_PATH) as handle:
        if stat.S_ISLNK(os.fstat(handle).st_mode):
            raise NotFound(f"No such file or folder: {shown(path)}")
        Path(f"/proc/self/fd/{handle}").chmod(int(mode, 8))
