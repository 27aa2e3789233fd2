"""The host's own disk runs full under a volume."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import Conflict
from fleet.settings import Settings
from storage.volumes import Volumes, volume_path
from storage.volumes.layout import image_path
from storage.volumes.mounts import mount_image, unmount
from tests.storage.conftest import VOLUME_ID

MEBIBYTE = 1024 * 1024


@pytest.fixture
def small_disk(settings: Settings) -> Iterator[Settings]:
    """A host whose data folder lies on a disk of 120 MB."""
    disk, data = settings.data / "disk", settings.data / "data"
    data.mkdir()
    with disk.open("wb") as file:
        file.truncate(120 * MEBIBYTE)
    subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
    mount_image(disk, data)
    small = replace(settings, data=data, disk_floor_mb=8)
    try:
        yield small
    finally:
        Volumes(small).delete(VOLUME_ID)
        unmount(data, detach=True)


def fill(folder: Path) -> None:
    """Take all space there is."""
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * MEBIBYTE)
        except OSError:
            os.fsync(file.fileno())


def test_a_full_disk_loses_nothing_that_was_written_to_a_volume(small_disk: Settings) -> None:
    Volumes(small_disk).create(VOLUME_ID, 48)
    folder = volume_path(small_disk, VOLUME_ID)
    for number in range(200):  # use, free and preallocate space, which must not make holes in the image
        (folder / f"{number}").write_bytes(os.urandom(50_000))
        fd = os.open(folder / f"{number}", os.O_RDWR)
        os.posix_fallocate(fd, 0, 100_000)
        os.pwrite(fd, b"later", 60_000)
        os.close(fd)
        if number % 2:
            (folder / f"{number}").unlink()
    os.sync()
    Volumes(small_disk).restore_all()
    fill(small_disk.data)
    assert os.statvfs(small_disk.data).f_bavail * 4096 < MEBIBYTE
    content = os.urandom(15 * MEBIBYTE)
    with (folder / "written when full").open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    assert unmount(folder, detach=False)
    subprocess.run(["e2fsck", "-f", "-n", image_path(small_disk, VOLUME_ID)], check=True, capture_output=True)
    Volumes(small_disk).restore_all()
    assert (folder / "written when full").read_bytes() == content


def test_a_full_disk_makes_and_grows_no_volume(small_disk: Settings) -> None:
    volumes = Volumes(small_disk)
    volumes.create(VOLUME_ID, 32)
    with pytest.raises(Conflict, match="disk"):
        volumes.resize(VOLUME_ID, 200)
    assert volumes.usage(VOLUME_ID).size_mb == 32
    with pytest.raises(Conflict, match="disk"):
        volumes.create("00000000-1111-4222-8333-444455556666", 100)
