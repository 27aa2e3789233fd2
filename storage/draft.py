"""A file that nobody sees until it is complete."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fleet.errors import Conflict
from storage.beneath import Root
from storage.room import take_one

LARGEST_SYNCED_BYTES = 8 * 1024 * 1024
TRIES = 16
"""So often something new may be swept away by others before it is locked."""

_HIDDEN = re.compile(rb"\.lightd-[0-9a-f]{16}")


class Draft:
    """An unnamed file in a folder of a volume, open for writing, that `publish` puts in place at once.

    Unnamed files vanish with their last descriptor, whatever kills the process. On a file system that has none, and
    for the moment before it replaces another file, the draft has a hidden name at the volume's root, and is locked:
    there `storage.staging` finds what a killed process left.
    """

    def __init__(self, root: Root, folder_fd: int) -> None:
        self._root = root
        self._folder_fd = folder_fd
        self._hidden: bytes | None = None
        self.size_bytes = 0
        take_one(root.room)
        self.fd = self._open()

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`; raises QuotaExceeded or OSError (ENOSPC) when it does not fit."""
        if self._root.room:
            self._root.room.take(len(data))
        self.size_bytes += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]

    def publish(self, name: bytes, *, overwrite: bool) -> None:
        """Give the file its name; FileExistsError when it is taken and must not be overwritten.

        A file of up to LARGEST_SYNCED_BYTES outlives a power loss from the moment in which this returns.
        """
        synced = self.size_bytes <= LARGEST_SYNCED_BYTES
        if synced:
            os.fdatasync(self.fd)
        if overwrite:
            self._replace(name)
        else:
            self._link(name, self._folder_fd)
        if synced:
            os.fsync(self._folder_fd)

    def close(self) -> None:
        """Close the file, and remove it where it has only its hidden name."""
        os.close(self.fd)
        if self._hidden is not None:
            with suppress(FileNotFoundError):  # a program in the container may have renamed it
                os.unlink(self._hidden, dir_fd=self._root.fd)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open(".", flags | os.O_TMPFILE, 0o600, dir_fd=self._folder_fd)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
                raise
        for _ in range(TRIES):
            self._hidden = draft_name()
            fd = os.open(self._hidden, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._root.fd)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:  # a sweep that met it before it was locked takes it away
                return fd
            os.close(fd)
        raise swept_away()

    def _replace(self, name: bytes) -> None:
        if self._hidden is None:
            hidden = draft_name()
            fcntl.flock(self.fd, fcntl.LOCK_EX)
            self._link(hidden, self._root.fd)
            self._hidden = hidden
        os.rename(self._hidden, name, src_dir_fd=self._root.fd, dst_dir_fd=self._folder_fd)
        self._hidden = None

    def _link(self, name: bytes, folder_fd: int) -> None:
        os.link(f"/proc/self/fd/{self.fd}", name, dst_dir_fd=folder_fd, follow_symlinks=True)


@contextmanager
def drafted(root: Root, folder_fd: int, mode: int = 0o644) -> Iterator[Draft]:
    """Hold a draft in a folder of the volume, that belongs to its owner; unpublished, it leaves nothing."""
    draft = Draft(root, folder_fd)
    try:
        hand_over(draft.fd, root.owner)
        os.fchmod(draft.fd, mode)
        yield draft
    finally:
        draft.close()


def draft_name() -> bytes:
    """A hidden name for something that is still being made."""
    return b".lightd-" + secrets.token_hex(8).encode()


def is_draft(name: bytes) -> bool:
    """Whether a name was made by `draft_name`: lists and archives leave it out."""
    return name.startswith(b".lightd-") and _HIDDEN.fullmatch(name) is not None


def swept_away() -> Conflict:
    """The error for something that was swept away each time."""
    return Conflict("The volume's folder is being emptied all the time; stop the container first.")


def folder_mode(mode: int) -> int:
    """The permissions that a folder gets where it should have these: without root, we must still fill and move it."""
    return mode if os.geteuid() == 0 else mode | 0o700


def hand_over(fd: int, owner: tuple[int, int]) -> None:
    """Give an open file or folder to the containers' user; without root it stays with us, who run as them."""
    if os.geteuid() == 0:
        os.fchown(fd, *owner)
