"""Sparse images take the host's disk as they fill. On a full disk the kernel loses what it had accepted for them, so
their writers must be stopped before: whatever is written through us by `HostRoom`, containers by a `Ballast`.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from fleet.errors import Conflict
from fleet.settings import Settings
from storage.volumes.driver import MEBIBYTE
from storage.volumes.layout import image_path, volume_path
from storage.volumes.mounts import is_beneath, is_mounted

_BLOCK_BYTES = 4096
# Between two looks at the disk; what many writers take unseen stays far below any sensible floor.
_UNSEEN_BYTES = 4 * MEBIBYTE
_KIBIBYTE = 1024
_TRIES = 64

_log = logging.getLogger(__name__)


def is_sparse(image: Path) -> bool:
    """Whether writing into an image may need more of the host's disk; False for a missing one."""
    try:
        status = image.stat()
    except FileNotFoundError:
        return False
    return status.st_blocks * 512 < status.st_size


def room_bytes(settings: Settings) -> int:
    """What the disk itself has above its floor: the truth once the kernel has written everything. Negative below it."""
    status = os.statvfs(settings.data)
    return status.f_bavail * status.f_frsize - settings.disk_floor_mb * MEBIBYTE


def unwritten_bytes() -> int:
    """What the kernel has accepted and not yet written: for some disk, at worst for this one."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(words[1]) * _KIBIBYTE for words in lines if words[0] in ("Dirty:", "Writeback:"))


def reopening_bytes(settings: Settings) -> int:
    """How much room there must be above the floor before a closed volume is opened, or anything started on it."""
    return settings.disk_floor_mb * MEBIBYTE // 4


def check_host_room(settings: Settings, volume_id: str) -> None:
    """Raise Conflict (`node_full`) when this volume is sparse and the host's disk is down to its floor."""
    needed_bytes = reopening_bytes(settings)
    if not is_sparse(image_path(settings, volume_id)) or room_bytes(settings) - unwritten_bytes() > needed_bytes:
        return
    os.sync()
    if room_bytes(settings) <= needed_bytes:
        raise Conflict(
            f"This host's disk is almost full (LIGHTD_DISK_FLOOR_MB keeps {settings.disk_floor_mb} MB free): nothing "
            "more is written to its volumes until there is room.",
            code="node_full",
        )


class HostRoom:
    """The host's own disk as the limit of a sparse volume. A Room."""

    def __init__(self, settings: Settings, volume_id: str) -> None:
        self._settings = settings
        self._volume_id = volume_id
        self._seen_bytes = 0

    @property
    def free_bytes(self) -> int:
        """What may be written now."""
        return max(room_bytes(self._settings) - unwritten_bytes(), 0)

    def take(self, size_bytes: int) -> None:
        """Look at the disk now and then; raises Conflict when it is down to its floor."""
        if self._seen_bytes <= 0:
            check_host_room(self._settings, self._volume_id)
            self._seen_bytes = _UNSEEN_BYTES
        self._seen_bytes -= size_bytes

    def close(self) -> None:
        """Nothing to do: the disk itself counts."""


class Ballast:
    """Unnamed files that take all space left in sparse volumes, but none of the host's disk.

    A program that writes more gets ENOSPC, as in any full volume; what it wrote before is safe. The files vanish with
    this process or when they are dropped.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files: dict[str, int] = {}

    @property
    def volumes(self) -> set[str]:
        """The volumes that are filled up now."""
        return set(self._files)

    def take_on(self, volume_ids: Iterable[str]) -> None:
        """Fill these volumes up, as far as they are sparse and mounted; all others, also deleted ones, are let go."""
        wanted = {volume_id for volume_id in volume_ids if self._is_fillable(volume_id)}
        for volume_id in self._files.keys() - wanted:
            os.close(self._files.pop(volume_id))
        for volume_id in wanted - self._files.keys():
            fd = self._opened(volume_id)
            if fd is not None:
                self._files[volume_id] = fd
                _fill(fd)

    def drop(self) -> None:
        """Give all space back."""
        self.take_on(())

    def _opened(self, volume_id: str) -> int | None:
        """A new unnamed file in the volume; None when it cannot be written to anyway, or was just unmounted."""
        folder = volume_path(self._settings, volume_id)
        try:
            fd = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except OSError as error:
            _log.warning("volume %s cannot be filled up: %s", volume_id, error)
            return None
        if is_beneath(fd, folder):  # this would fill the host's own disk
            os.close(fd)
            return None
        return fd

    def _is_fillable(self, volume_id: str) -> bool:
        folder = volume_path(self._settings, volume_id)
        return is_mounted(folder) and is_sparse(image_path(self._settings, volume_id))


def _fill(fd: int) -> None:
    """Reserve blocks without writing them until none is left."""
    wanted_bytes = _free_bytes(fd)
    for _ in range(_TRIES):
        if wanted_bytes < _BLOCK_BYTES:
            return
        try:
            os.posix_fallocate(fd, os.fstat(fd).st_size, wanted_bytes)
            wanted_bytes = _free_bytes(fd)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            wanted_bytes = min(wanted_bytes // 2, _free_bytes(fd))


def _free_bytes(fd: int) -> int:
    status = os.fstatvfs(fd)
    return status.f_bavail * status.f_frsize
