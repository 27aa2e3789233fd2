"""A file that nobody sees until it is complete."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from storage.room import Room

_HIDDEN = re.compile(rb"\.lightd-[0-9a-f]{16}")


class Draft:
    """An unnamed file in a folder, open for writing, that `publish` puts in place at once.

    Unnamed files vanish with their last descriptor, whatever kills the process. On a file system that has none
    the draft has a hidden name, removed again unless it was published.
    """

    def __init__(self, folder_fd: int, room: Room | None) -> None:
        self._folder_fd = folder_fd
        self._room = room
        self._name: bytes | None = None
        self.fd = self._open()

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`; raises QuotaExceeded or OSError (ENOSPC) when it does not fit."""
        if self._room:
            self._room.take(len(data))
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]

    def publish(self, name: bytes, *, overwrite: bool) -> None:
        """Give the file its name; FileExistsError when it is taken and must not be overwritten."""
        if not overwrite:
            self._link(name)
            return
        if self._name is None:
            hidden = draft_name()
            self._link(hidden)
            self._name = hidden
        os.rename(self._name, name, src_dir_fd=self._folder_fd, dst_dir_fd=self._folder_fd)
        self._name = None

    def close(self) -> None:
        """Close the file, and remove it where it has only its hidden name."""
        os.close(self.fd)
        if self._name is not None:
            os.unlink(self._name, dir_fd=self._folder_fd)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open(".", flags | os.O_TMPFILE, 0o600, dir_fd=self._folder_fd)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
                raise
        self._name = draft_name()
        return os.open(self._name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._folder_fd)

    def _link(self, name: bytes) -> None:
        os.link(f"/proc/self/fd/{self.fd}", name, dst_dir_fd=self._folder_fd, follow_symlinks=True)


@contextmanager
def drafted(folder_fd: int, owner: tuple[int, int], room: Room | None, mode: int = 0o644) -> Iterator[Draft]:
    """Hold a draft in `folder_fd` that belongs to `owner`; unpublished, it leaves nothing."""
    draft = Draft(folder_fd, room)
    try:
        hand_over(draft.fd, owner)
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


def hand_over(fd: int, owner: tuple[int, int]) -> None:
    """Give an open file or folder to the containers' user; without root it stays with us, who run as them."""
    if os.geteuid() == 0:
        os.fchown(fd, *owner)
