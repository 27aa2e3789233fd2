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
from storage.copying import copy
from storage.listing import list_folder
from storage.paths import ROOT
from storage.volumes import Volumes, volume_path
from storage.volumes.layout import image_path
from storage.volumes.mounts import mount_image, unmount, wait_until_dead
from storage.volumes.sparse import Ballast, check_host_room
from storage.writing import write_file, write_stream
from tests.storage.conftest import VOLUME_ID
from tests.support.deadline import eventually

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


@pytest.mark.parametrize("driver", ["loop", "directory"])
def test_a_volume_can_be_deleted_when_nothing_else_fits_on_the_disk(small_disk: Settings, driver: str) -> None:
    volumes = Volumes(replace(small_disk, volume_driver=driver))
    volumes.create(VOLUME_ID, 32)
    folder = volume_path(small_disk, VOLUME_ID)
    (folder / "logs/old").mkdir(parents=True)
    (folder / "logs/old/1").write_bytes(b"x" * 24 * MEBIBYTE)
    fill(small_disk.data)
    with pytest.raises(OSError, match="No space left"):
        for number in range(100_000):
            (small_disk.data / f"filler {number}").write_bytes(b"x")
    with pytest.raises(Conflict, match="no room"):
        volumes.create("00000000-1111-4222-8333-444455556666", 16)
    volumes.delete(VOLUME_ID)
    assert not image_path(small_disk, VOLUME_ID).exists() and not folder.exists()
    eventually(lambda: free_mb(small_disk.data) > 16, within_seconds=10, what="the space")


class TestSparseImages:
    """They take the host's disk as they fill, so their writers are stopped before it is full."""

    @pytest.fixture
    def sparse(self, small_disk: Settings) -> Settings:
        """The same host with a volume that is larger than what its disk has left above its floor."""
        host = replace(small_disk, volume_allocation="sparse", disk_floor_mb=24)
        Volumes(host).create(VOLUME_ID, 256)
        return host

    def test_nothing_is_written_through_us_below_the_floor(self, sparse: Settings) -> None:
        volumes, folder = Volumes(sparse), volume_path(sparse, VOLUME_ID)
        piece = os.urandom(4 * MEBIBYTE)
        with volumes.opened(VOLUME_ID) as root:
            written = 0
            with pytest.raises(Conflict, match="LIGHTD_DISK_FLOOR_MB") as refused:
                for written in range(64):
                    write_file(root, b"%d" % written, piece)
            assert refused.value.code == "node_full"
            with pytest.raises(Conflict, match="LIGHTD_DISK_FLOOR_MB"):
                copy(root, b"0", b"copy")
            assert [entry.name for entry in list_folder(root, ROOT)] == sorted(map(str, range(written)))
            assert (folder / "0").read_bytes() == piece
        os.sync()
        assert free_mb(sparse.data) > 8, "the floor is still there, but for what was written between two looks"
        remounted_and_sound(sparse)
        assert all((folder / str(number)).read_bytes() == piece for number in range(written))

    def test_an_upload_that_reaches_the_floor_leaves_nothing(self, sparse: Settings) -> None:
        pieces = (os.urandom(MEBIBYTE) for _ in range(200))
        with Volumes(sparse).opened(VOLUME_ID) as root:
            with pytest.raises(Conflict, match="LIGHTD_DISK_FLOOR_MB"):
                write_stream(root, b"upload", pieces)
            assert list_folder(root, ROOT) == []

    def test_below_the_floor_nothing_starts_on_them_and_none_grows(self, sparse: Settings) -> None:
        volumes = Volumes(sparse)
        check_host_room(sparse, VOLUME_ID)
        fill(sparse.data)
        for refused in (
            lambda: check_host_room(sparse, VOLUME_ID),
            lambda: volumes.resize(VOLUME_ID, 300),
            lambda: volumes.create("00000000-1111-4222-8333-444455556666", 16),
        ):
            with pytest.raises(Conflict) as caught:
                refused()
            assert caught.value.code == "node_full"

    def test_a_volume_that_has_all_its_space_needs_no_floor(self, small_disk: Settings) -> None:
        Volumes(small_disk).create(VOLUME_ID, 32)
        fill(small_disk.data)
        check_host_room(small_disk, VOLUME_ID)
        with Volumes(small_disk).opened(VOLUME_ID) as root:
            write_file(root, b"a", b"x" * (10 * MEBIBYTE))

    def test_a_ballast_closes_a_volume_to_programs_and_takes_nothing_of_the_disk(self, sparse: Settings) -> None:
        folder, ballast = volume_path(sparse, VOLUME_ID), Ballast(sparse)
        (folder / "before").write_bytes(b"x" * MEBIBYTE)
        os.sync()
        free_before_mb = free_mb(sparse.data)
        ballast.take_on([VOLUME_ID])
        assert ballast.volumes == {VOLUME_ID}
        with pytest.raises(OSError, match="No space left on device"):
            (folder / "after").write_bytes(b"x" * MEBIBYTE)
        os.sync()
        assert free_mb(sparse.data) > free_before_mb - 5
        assert sorted(os.listdir(folder)) == ["after", "before"], "nobody sees the ballast"
        ballast.drop()
        (folder / "after").write_bytes(b"x" * MEBIBYTE)
        remounted_and_sound(sparse)

    def test_a_ballast_lets_go_of_a_deleted_volume_so_that_its_space_is_free(self, sparse: Settings) -> None:
        (volume_path(sparse, VOLUME_ID) / "large").write_bytes(os.urandom(50 * MEBIBYTE))
        os.sync()
        free_before_mb, ballast = free_mb(sparse.data), Ballast(sparse)
        ballast.take_on([VOLUME_ID])
        Volumes(sparse).delete(VOLUME_ID)
        ballast.take_on([])
        eventually(lambda: free_mb(sparse.data) > free_before_mb + 40, within_seconds=10, what="the space")


def free_mb(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize // MEBIBYTE


def remounted_and_sound(settings: Settings) -> None:
    """Take the volume away, check its file system, and mount it again: nothing is left in memory."""
    assert unmount(volume_path(settings, VOLUME_ID), detach=False)
    image = image_path(settings, VOLUME_ID)
    eventually(lambda: wait_until_dead(image), within_seconds=60, what="other containers to have started")
    subprocess.run(["e2fsck", "-f", "-n", image], check=True, capture_output=True)
    Volumes(settings).ensure_mounted(VOLUME_ID)
