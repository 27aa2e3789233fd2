"""Mounting images of ext4 file systems through loop devices that free themselves."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import time
from pathlib import Path

from fleet.errors import Unavailable
from storage.volumes.disk import run

# noinit_itable: the kernel's lazy initialising would punch holes into a fully allocated image.
_OPTIONS = "loop,nosuid,nodev,noatime,noinit_itable"
_MNT_DETACH = 2
_LOOP_SET_CAPACITY = 0x4C07
_BUSY_SECONDS = 1.0
_CAP_SYS_RESOURCE = 24

_libc = ctypes.CDLL(None, use_errno=True)


def mount_image(image: Path, folder: Path) -> None:
    """Mount an image; raises Unavailable when the host cannot."""
    run("mount", "-t", "ext4", "-o", _OPTIONS, image, folder)


def unmount(folder: Path, *, detach: bool) -> bool:
    """Unmount everything at `folder`; False when it stays in use and `detach` is not set.

    With `detach` the mount disappears at once and its loop device with the last open file.
    """
    deadline = time.monotonic() + _BUSY_SECONDS
    while is_mounted(folder):
        if _libc.umount2(os.fsencode(folder), 0) == 0:
            continue
        code = ctypes.get_errno()
        if code != errno.EBUSY:
            raise Unavailable(f"Volume {folder.name} could not be unmounted: {os.strerror(code)}.")
        if time.monotonic() > deadline:
            if not detach:
                return False
            _libc.umount2(os.fsencode(folder), _MNT_DETACH)
        time.sleep(0.01)
    return True


def is_live(image: Path) -> bool:
    """Whether a loop device still works on an image, mounted here or not.

    A process that was started meanwhile, such as a container, may hold a copy of the mount in a namespace of its own.
    The file system then goes on living after it was unmounted here, and whoever wrote into its image would destroy it.
    """
    return bool(run("losetup", "--associated", image).strip())


def wait_until_dead(image: Path) -> bool:
    """Wait a moment for the last loop device to let go of an image; False when one keeps it."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while is_live(image):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_mounted(folder: Path) -> bool:
    """Whether `folder` is the root of another file system than its parent's."""
    try:
        return folder.stat().st_dev != folder.parent.stat().st_dev
    except FileNotFoundError:
        return False


def is_beneath(fd: int, folder: Path) -> bool:
    """Whether what was opened at or in `folder` lies in the bare folder, with nothing mounted over it at that moment.

    What is open keeps its mount in place: the answer stays true.
    """
    return os.fstat(fd).st_dev == folder.parent.stat().st_dev


def loop_device(folder: Path) -> Path:
    """The loop device mounted at `folder`; raises Unavailable when there is none."""
    device = folder.stat().st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    if not name.startswith("loop"):
        raise Unavailable(f"Volume {folder.name} is not on a loop device.")
    return Path("/dev") / name


def reread_size(device: Path) -> None:
    """Make a loop device as large as its image has become."""
    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _LOOP_SET_CAPACITY, 0)
    finally:
        os.close(fd)


def may_resize_mounted() -> bool:
    """Whether the kernel lets this process grow a mounted file system (capability CAP_SYS_RESOURCE)."""
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _CAP_SYS_RESOURCE & 1)


def mounts_below(folder: Path) -> list[str]:
    """Mount points in `folder`, the last mounted first."""
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [point for point in reversed(points) if point.startswith(f"{folder}/")]


def loop_devices_below(folder: Path) -> dict[str, str]:
    """Loop devices whose image file is, or was, in `folder`, each with that file."""
    listed = run("losetup", "--json", "--list")
    devices = json.loads(listed)["loopdevices"] if listed.strip() else []
    files = {str(device["name"]): str(device["back-file"]) for device in devices}
    return {name: file for name, file in files.items() if file.startswith(f"{folder}/")}
