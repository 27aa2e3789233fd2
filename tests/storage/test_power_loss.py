"""A host without power: what its kernel held in memory is lost, what had reached a volume's image is all there is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.settings import Settings
from storage.beneath import Root
from storage.draft import LARGEST_SYNCED_BYTES
from storage.volumes import Volumes, volume_path
from storage.volumes.layout import image_path
from storage.volumes.mounts import is_mounted, unmount, wait_until_dead
from storage.writing import write_file
from tests.storage.conftest import VOLUME_ID
from tests.support.deadline import eventually

MEBIBYTE = 1024 * 1024


@pytest.fixture
def folder(settings: Settings) -> Path:
    """The folder of a mounted volume that two of the largest files fit into."""
    Volumes(settings).create(VOLUME_ID, 64)
    return volume_path(settings, VOLUME_ID)


def after_power_loss(settings: Settings, work: Callable[[Root], object]) -> None:
    """Do some work on the volume, and have it end with a loss of power: the host boots again with the image of then."""
    image = image_path(settings, VOLUME_ID)
    then = settings.data / "then.img"
    with Volumes(settings).opened(VOLUME_ID) as root:
        work(root)
        shutil.copyfile(image, then)
    folder = volume_path(settings, VOLUME_ID)
    assert unmount(folder, detach=False)
    eventually(lambda: wait_until_dead(image), within_seconds=60, what="other containers to have started")
    shutil.copyfile(then, image)
    Volumes(settings).restore_all()
    assert is_mounted(folder)


def test_what_only_the_kernel_knew_is_lost_here_too(settings: Settings, folder: Path) -> None:
    """Otherwise this module would prove nothing. Somebody else on this host may just then have all disks written."""

    def is_lost() -> bool:
        after_power_loss(settings, lambda _: (folder / "a").write_bytes(b"kept"))
        lost = not (folder / "a").exists() or (folder / "a").read_bytes() != b"kept"
        (folder / "a").unlink(missing_ok=True)
        return lost

    assert any(is_lost() for _ in range(5))


@pytest.mark.parametrize("size_bytes", [0, 1, 5000, MEBIBYTE, LARGEST_SYNCED_BYTES])
def test_a_file_that_was_answered_as_written_is_there_with_its_folders(
    settings: Settings, folder: Path, size_bytes: int
) -> None:
    content = os.urandom(size_bytes)
    after_power_loss(settings, lambda root: write_file(root, b"new/folders/file", content))
    assert (folder / "new/folders/file").read_bytes() == content
    assert (folder / "new/folders/file").stat().st_uid == settings.owner[0]


def test_a_file_that_was_answered_as_replaced_is_the_new_one(settings: Settings, folder: Path) -> None:
    (folder / "file").write_bytes(b"old")
    os.sync()
    after_power_loss(settings, lambda root: write_file(root, b"file", b"new"))
    assert (folder / "file").read_bytes() == b"new"
    assert os.listdir(folder) == ["file"]


def test_a_file_that_is_too_large_to_wait_for_is_the_old_or_the_new_one(settings: Settings, folder: Path) -> None:
    old, new = b"old" * 100, os.urandom(LARGEST_SYNCED_BYTES + MEBIBYTE)
    (folder / "file").write_bytes(old)
    os.sync()
    after_power_loss(settings, lambda root: write_file(root, b"file", new))
    assert (folder / "file").read_bytes() in (old, new)


def test_a_file_system_that_was_cut_off_is_mended_before_it_is_mounted(settings: Settings, folder: Path) -> None:
    def work(root: Root) -> None:
        for number in range(200):
            (folder / f"{number}").mkdir()
            (folder / f"{number}/unanswered").write_bytes(os.urandom(5000))
            if number % 3:
                shutil.rmtree(folder / f"{number}")
        write_file(root, b"answered", b"kept")

    after_power_loss(settings, work)
    assert (folder / "answered").read_bytes() == b"kept"
    assert unmount(folder, detach=False)
    image = image_path(settings, VOLUME_ID)
    eventually(lambda: wait_until_dead(image), within_seconds=60, what="other containers to have started")
    subprocess.run(["e2fsck", "-f", "-n", image], check=True, capture_output=True)
