"""Giving a volume's files to the user that its containers run as."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from storage.walking import Found, walk

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def hand_over(folder: Path, owner: tuple[int, int], before_each: Callable[[], None]) -> None:
    """Make `owner` (uid, gid) own the folder and everything in it; `before_each` of them may raise to end it there.

    Works on descriptors of the folders it has opened, and on links themselves, so that no link can lead it out.
    What vanishes meanwhile is passed over: another container may be at work on the volume. Raises Invalid where folders
    are nested too deep.
    """
    fd = os.open(folder, _FOLDER)
    try:
        status = os.fstat(fd)
        if (status.st_uid, status.st_gid) != owner:
            os.fchown(fd, *owner)
        for found in walk(fd):
            before_each()
            if found.status.st_dev == status.st_dev:  # else something is mounted here, and isn't the volume's
                _hand_over_entry(found, owner)
    finally:
        os.close(fd)


def _hand_over_entry(found: Found, owner: tuple[int, int]) -> None:
    if (found.status.st_uid, found.status.st_gid) != owner:
        with suppress(FileNotFoundError):
            os.chown(found.name, *owner, dir_fd=found.folder_fd, follow_symlinks=False)
