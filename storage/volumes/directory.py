"""Volumes as plain folders with a checked size, where loop mounts are impossible.

What the API writes is counted before it is written. What containers write is only seen afterwards.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from fleet.errors import Conflict, Unavailable
from fleet.settings import Settings
from storage.room import Count, Room
from storage.staging import remove_in_place
from storage.volumes.disk import check_disk_floor, missing_on_host, run
from storage.volumes.driver import MEBIBYTE, Usage
from storage.volumes.layout import volume_path

_COUNT_VALID_SECONDS = 2.0
# du says 1 when files vanish while it counts.
_COUNTED = (0, 1)


class DirectoryDriver:
    """One folder a volume. A QuotaDriver."""

    name = "directory"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._counts: dict[str, tuple[float, int, Count]] = {}

    def create(self, volume_id: str, size_mb: int) -> Path:  # noqa: ARG002 (only checked later)
        """Make the folder; raises Conflict when the disk is too full."""
        check_disk_floor(self._settings, 0)
        folder = volume_path(self._settings, volume_id)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(folder, *self._settings.owner)
        return folder

    def ensure_mounted(self, volume_id: str) -> Path:
        """The folder; raises Unavailable when it is gone."""
        folder = volume_path(self._settings, volume_id)
        if not folder.is_dir():
            raise missing_on_host(volume_id, folder)
        return folder

    def is_mounted(self, volume_id: str) -> bool:
        """Whether the folder is there."""
        return volume_path(self._settings, volume_id).is_dir()

    def holds(self, volume_id: str, fd: int) -> bool:  # noqa: ARG002 (nothing is ever mounted over it)
        """The folder is the volume."""
        return True

    def delete(self, volume_id: str) -> None:
        """Delete the folder with all it holds."""
        folder = volume_path(self._settings, volume_id)
        fd = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(FileNotFoundError):
                remove_in_place(fd, os.fsencode(folder.name))
        finally:
            os.close(fd)

    def usage(self, volume_id: str, size_mb: int) -> Usage:
        """What `du` counts on disk; what is left is also limited by the host's own disk."""
        folder = volume_path(self._settings, volume_id)
        used_bytes = _used_bytes(folder)
        status = os.statvfs(folder)
        available = min(size_mb * MEBIBYTE - used_bytes, status.f_bavail * status.f_frsize)
        return Usage(size_mb, used_bytes, max(available, 0))

    def resize(self, volume_id: str, old_mb: int, size_mb: int) -> None:  # noqa: ARG002 (only the new counts)
        """Only a number changes; raises Conflict when the content is larger."""
        if _used_bytes(volume_path(self._settings, volume_id)) > size_mb * MEBIBYTE:
            raise Conflict(f"The volume's content does not fit into {size_mb} MB.", code="does_not_fit")

    def settle(self, volume_id: str, size_mb: int) -> int:  # noqa: ARG002 (one file says the size, whole or not)
        """The size that was written down."""
        return size_mb

    def room(self, volume_id: str, size_mb: int) -> Room | None:
        """Counted now and then; all writers of this process share the count in between."""
        counted_at, counted_for, count = self._counts.get(volume_id, (0.0, 0, Count()))
        now = time.monotonic()
        if now - counted_at > _COUNT_VALID_SECONDS or counted_for != size_mb:
            count.renew(self.usage(volume_id, size_mb).available_bytes)
            self._counts[volume_id] = (now, size_mb, count)
        return count.room()


def _used_bytes(folder: Path) -> int:
    counted = run("du", "-sx", "-B1", folder, accepted=_COUNTED).split()
    if not counted:
        raise Unavailable(f"This host could not count what volume {folder.name} holds; try again.")
    return int(counted[0])
