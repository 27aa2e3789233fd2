"""Giving a volume's files to the user that its containers run as."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path


def hand_over(folder: Path, owner: tuple[int, int], before_each: Callable[[], None]) -> None:
    """Make `owner` (uid, gid) own the folder and everything in it; `before_each` of them may raise to end it there.

    Works on descriptors of the folders it has opened, and on links themselves, so that no link can lead it out.
    What vanishes meanwhile is passed over: another container may be at work on the volume.
    """
    device = folder.stat().st_dev
    for _, folders, files, handle in os.fwalk(folder, topdown=True, follow_symlinks=False):
        if os.fstat(handle).st_dev != device:
            folders.clear()  # something is mounted here; it isn't the volume's
            continue
        if os.fstat(handle).st_uid != owner[0] or os.fstat(handle).st_gid != owner[1]:
            os.fchown(handle, *owner)
        for name in (*folders, *files):
            before_each()
            with contextlib.suppress(FileNotFoundError):
                _hand_over_entry(name, handle, owner)


def _hand_over_entry(name: str, handle: int, owner: tuple[int, int]) -> None:
    found = os.stat(name, dir_fd=handle, follow_symlinks=False)
    if (found.st_uid, found.st_gid) != owner:
        os.chown(name, *owner, dir_fd=handle, follow_symlinks=False)
