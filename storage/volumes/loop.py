"""Volumes as loop-mounted ext4 images: the kernel keeps their size, for containers as for us."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fleet.errors import Conflict, NotFound
from fleet.settings import Settings
from storage.room import Room
from storage.volumes.disk import allocate, check_disk_floor, missing_on_host, run
from storage.volumes.driver import MEBIBYTE, Usage
from storage.volumes.layout import image_path, resizing_path, volume_path
from storage.volumes.mounts import (
    is_beneath,
    is_live,
    is_mounted,
    loop_device,
    may_resize_mounted,
    mount_image,
    reread_size,
    unmount,
    wait_until_dead,
)
from storage.volumes.sparse import HostRoom, is_sparse

# What an empty sparse image takes, for the check of the disk floor.
_EMPTY_IMAGE_BYTES = 32 * MEBIBYTE
_BYTES_PER_INODE = 8192
_BLOCK_BYTES = 4096
_CORRECTED = (0, 1)
# mkfs makes it, and e2fsck again with each full check; to a program in the container it would be a strange folder.
_FOUND = "lost+found"


class LoopDriver:
    """One image file and one mount a volume. A QuotaDriver."""

    name = "loop"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._full = settings.volume_allocation == "full"

    def create(self, volume_id: str, size_mb: int) -> Path:
        """Make, format and mount the image; raises Conflict when the disk is too full, Unavailable without mounts."""
        size_bytes = size_mb * MEBIBYTE
        check_disk_floor(self._settings, size_bytes if self._full else min(size_bytes, _EMPTY_IMAGE_BYTES))
        image = image_path(self._settings, volume_id)
        image.parent.mkdir(parents=True, exist_ok=True)
        image.parent.chmod(0o700)
        allocate(image, size_bytes, full=self._full)
        self._format(image)
        return self._mount(volume_id)

    def ensure_mounted(self, volume_id: str) -> Path:
        """Mount the image, checked before, unless it is mounted; fills holes that a fully allocated one has got."""
        folder = volume_path(self._settings, volume_id)
        image = image_path(self._settings, volume_id)
        if not image.exists():
            raise missing_on_host(volume_id, image)
        if self._full:
            allocate(image, image.stat().st_size, full=True)
        if not is_mounted(folder):
            if not is_live(image):
                self._repair(volume_id)
            self._mount(volume_id)
        return folder

    def is_mounted(self, volume_id: str) -> bool:
        """Whether the image is mounted."""
        return is_mounted(volume_path(self._settings, volume_id))

    def holds(self, volume_id: str, fd: int) -> bool:
        """Whether the folder was opened while the image was mounted; as long as it is open, that stays so."""
        return not is_beneath(fd, volume_path(self._settings, volume_id))

    def delete(self, volume_id: str) -> None:
        """Unmount (calls in flight end on a file system that then vanishes) and remove image and mount point."""
        folder = volume_path(self._settings, volume_id)
        unmount(folder, detach=True)
        image_path(self._settings, volume_id).unlink(missing_ok=True)
        resizing_path(self._settings, volume_id).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            folder.rmdir()

    def usage(self, volume_id: str, size_mb: int) -> Usage:
        """As the mounted file system counts it."""
        status = os.statvfs(volume_path(self._settings, volume_id))
        used_bytes = (status.f_blocks - status.f_bfree) * status.f_frsize
        return Usage(size_mb, used_bytes, status.f_bavail * status.f_frsize)

    def resize(self, volume_id: str, old_mb: int, size_mb: int) -> None:
        """Grow while mounted where the kernel lets us, else, and to shrink, unmounted; raises Conflict when in use."""
        if size_mb >= old_mb:
            check_disk_floor(self._settings, (size_mb - old_mb) * MEBIBYTE if self._full else 0)
            self._grow(volume_id, old_mb, size_mb)
        else:
            self._shrink(volume_id, size_mb)

    def settle(self, volume_id: str, size_mb: int) -> int:  # noqa: ARG002 (the image tells)
        """The image's own size counts: it grows before its file system does, and shrinks after it.

        Where a mounted file system may not grow, it does so the next time it is mounted.
        """
        mark = resizing_path(self._settings, volume_id)
        if mark.exists() and may_resize_mounted():
            _fill_mounted(volume_path(self._settings, volume_id))
            mark.unlink()
        return image_path(self._settings, volume_id).stat().st_size // MEBIBYTE

    def room(self, volume_id: str, size_mb: int) -> Room | None:  # noqa: ARG002 (nothing to count)
        """None where the kernel counts; a sparse image is limited by the host's own disk too."""
        return HostRoom(self._settings, volume_id) if is_sparse(image_path(self._settings, volume_id)) else None

    def _format(self, image: Path) -> None:
        uid, gid = self._settings.owner
        # nodiscard: the image is all zeros, and discarding would give its disk space away again.
        extended = f"nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner={uid}:{gid}"
        sizes = ("-b", str(_BLOCK_BYTES), "-m", "0", "-i", str(_BYTES_PER_INODE))
        run("mkfs.ext4", "-q", "-F", *sizes, "-E", extended, image)

    def _mount(self, volume_id: str) -> Path:
        folder = volume_path(self._settings, volume_id)
        if not is_mounted(folder):
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            mount_image(image_path(self._settings, volume_id), folder)
            with suppress(OSError):  # not there, or something was found
                (folder / _FOUND).rmdir()
        return folder

    def _grow(self, volume_id: str, old_mb: int, size_mb: int) -> None:
        image, mark = image_path(self._settings, volume_id), resizing_path(self._settings, volume_id)
        if may_resize_mounted():
            self._lengthen(volume_id, old_mb, size_mb)
            _fill_mounted(volume_path(self._settings, volume_id))
            mark.unlink()
        else:
            with self._unmounted(volume_id, "this host lets nobody (CAP_SYS_RESOURCE) grow one that is in use"):
                self._lengthen(volume_id, old_mb, size_mb)
                _fill(image)
                mark.unlink()
        # New tables are zeroed by discarding, which made holes again.
        allocate(image, size_mb * MEBIBYTE, full=self._full)

    def _lengthen(self, volume_id: str, old_mb: int, size_mb: int) -> None:
        """Make the image larger, or leave it as it was: its size says how large the volume is."""
        image, mark = image_path(self._settings, volume_id), resizing_path(self._settings, volume_id)
        mark.touch()
        try:
            allocate(image, size_mb * MEBIBYTE, full=self._full)
        except BaseException:
            os.truncate(image, old_mb * MEBIBYTE)
            mark.unlink()
            raise

    def _repair(self, volume_id: str) -> None:
        """Check a file system that nobody has mounted, and finish the resize that a crash interrupted."""
        image, mark = image_path(self._settings, volume_id), resizing_path(self._settings, volume_id)
        if mark.exists():
            _fill(image)
            mark.unlink()
        else:
            run("e2fsck", "-p", image, accepted=_CORRECTED)

    def _shrink(self, volume_id: str, size_mb: int) -> None:
        image, mark = image_path(self._settings, volume_id), resizing_path(self._settings, volume_id)
        with self._unmounted(volume_id, "one in use cannot become smaller"):
            run("e2fsck", "-f", "-p", image, accepted=_CORRECTED)
            if _smallest_mb(image) > size_mb:
                raise Conflict(f"The volume's content does not fit into {size_mb} MB.", code="does_not_fit")
            mark.touch()
            run("resize2fs", image, f"{size_mb}M", timeout_seconds=None)
            os.truncate(image, size_mb * MEBIBYTE)
            mark.unlink()

    @contextmanager
    def _unmounted(self, volume_id: str, reason: str) -> Iterator[None]:
        """Take the volume away for a moment, always to be mounted again; raises Conflict when it is in use."""
        in_use = Conflict(f"The volume is in use; stop its containers first: {reason}.", code="volume_in_use")
        if not unmount(volume_path(self._settings, volume_id), detach=False):
            raise in_use
        try:
            if not wait_until_dead(image_path(self._settings, volume_id)):
                raise in_use
            yield
        finally:
            self._mount(volume_id)


def _fill(image: Path) -> None:
    """Make a file system that nobody has mounted as large as its image."""
    run("e2fsck", "-f", "-p", image, accepted=_CORRECTED)
    run("resize2fs", image, timeout_seconds=None)


def _fill_mounted(folder: Path) -> None:
    device = loop_device(folder)
    reread_size(device)
    run("resize2fs", device)


def _smallest_mb(image: Path) -> int:
    """What resize2fs thinks the file system can be shrunk to, in MB rounded up."""
    words = run("resize2fs", "-P", image).split()
    if not words or not words[-1].isdigit():
        raise NotFound("resize2fs did not say how small the volume can be.")
    return -(-int(words[-1]) * _BLOCK_BYTES // MEBIBYTE)
