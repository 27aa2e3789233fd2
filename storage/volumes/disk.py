"""The host's own disk: what is free, and taking it."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.errors import Conflict, Unavailable
from fleet.settings import Settings
from storage.volumes.driver import MEBIBYTE
from storage.volumes.layout import without_paths
from storage.volumes.locks import held_by_this_thread

_COMMAND_SECONDS = 300
_LEAST_INODES = 0.01
_log = logging.getLogger(__name__)


def check_disk_floor(settings: Settings, needed_bytes: int, *folders: Path) -> int:
    """Raise Conflict (`node_full`) when taking `needed_bytes` leaves less free than `disk_floor_mb`, or when hardly any
    more file can be made. `folders` tell of disks that count beside the one that holds the volumes.

    Answers how many bytes may be taken.
    """
    rooms_bytes = []
    for folder in (settings.data, *folders):
        status = os.statvfs(folder)
        free_bytes = status.f_bavail * status.f_frsize
        rooms_bytes.append(free_bytes - settings.disk_floor_mb * MEBIBYTE)
        if needed_bytes > rooms_bytes[-1]:
            raise Conflict(
                f"This host has {free_bytes // MEBIBYTE} MB of disk left and keeps {settings.disk_floor_mb} MB free: "
                f"no room for {-(-needed_bytes // MEBIBYTE)} MB more.",
                code="node_full",
            )
        if settings.disk_floor_mb and status.f_favail < status.f_files * _LEAST_INODES:
            raise Conflict("This host's disk has no room for many more files (inodes); delete some.", code="node_full")
    return min(rooms_bytes)


def allocate(path: Path, size_bytes: int, *, full: bool) -> None:
    """Make a file at least `size_bytes` long; `full` takes the disk space now, also for holes it already has."""
    with full_disk_named():
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if full:
                os.posix_fallocate(fd, 0, size_bytes)
            elif os.fstat(fd).st_size < size_bytes:
                os.ftruncate(fd, size_bytes)
        finally:
            os.close(fd)


@contextmanager
def full_disk_named() -> Iterator[None]:
    """Turn the host's refusal to store more into a Conflict (`node_full`)."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise Conflict("This host's disk has no room for a volume of this size.", code="node_full") from error


def missing_on_host(volume_id: str, path: Path) -> Unavailable:
    """What to raise when a volume that is known here has lost its image or folder; the log has the path."""
    _log.error("volume %s: %s is missing", volume_id, path)
    return Unavailable(f"What volume {volume_id} holds is missing on this host; restore it.")


def run(
    *command: str | Path, accepted: tuple[int, ...] = (0,), timeout_seconds: float | None = _COMMAND_SECONDS
) -> str:
    """Run a system command; raises Unavailable with its last words when it fails, is missing or hangs.

    One that must not be ended half-way, whatever it takes, has no `timeout_seconds`.
    """
    arguments = [str(part) for part in command]
    try:
        done = subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            pass_fds=held_by_this_thread(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.error("%s could not be run: %s", arguments[0], error)
        raise Unavailable(f"This host could not run {arguments[0]}: {without_paths(str(error))}") from error
    if done.returncode not in accepted:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        _log.error("%s failed: %s", " ".join(arguments), " ".join(words))
        raise Unavailable(f"{arguments[0]} failed on this host: {without_paths(words[-1])}")
    return done.stdout
