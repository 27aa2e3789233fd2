"""A volume in which not one block, or not one file more, has room: making room must need none."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import QuotaExceeded
from fleet.settings import Settings
from storage.draft import draft_name
from storage.renaming import delete
from storage.volumes import Volumes, volume_path
from storage.volumes.sparse import Ballast
from storage.writing import write_file
from tests.storage.conftest import VOLUME_ID

BLOCK_BYTES = 4096
PIECE_BYTES = 64 * 1024


def fill_blocks(folder: Path) -> None:
    """Write large files, then small ones, until not even a folder can be made."""
    for size in (PIECE_BYTES, BLOCK_BYTES):
        with (folder / f"filler {size}").open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * size):
                continue
    assert os.statvfs(folder).f_bavail == 0
    with pytest.raises(OSError, match="No space left"):
        (folder / "one more").mkdir()


def fill_inodes(folder: Path) -> None:
    """Make empty files until there cannot be one more."""
    (folder / "many").mkdir()
    with suppress(OSError):
        for number in range(os.statvfs(folder).f_ffree + 1):
            (folder / f"many/{number}").touch()
    assert os.statvfs(folder).f_ffree == 0


def test_files_and_folders_of_a_full_volume_are_deleted(volumes: Volumes, loop_folder: Path) -> None:
    for path in ("world/region/a", "world/b", "kept/c", "log"):
        (loop_folder / path).parent.mkdir(parents=True, exist_ok=True)
        (loop_folder / path).write_bytes(b"x" * 100)
    fill_blocks(loop_folder)
    with volumes.opened(VOLUME_ID) as root:
        with pytest.raises(QuotaExceeded):
            write_file(root, b"new", b"x")
        assert delete(root, [b"log", b"world", f"filler {PIECE_BYTES}".encode()]) == 3
        assert sorted(os.listdir(loop_folder)) == [f"filler {BLOCK_BYTES}", "kept"]
        write_file(root, b"new", b"x" * PIECE_BYTES)


def test_folders_in_folders_of_a_full_volume_are_deleted(volumes: Volumes, loop_folder: Path) -> None:
    for number in range(300):
        (loop_folder / f"tree/{number}/{'x' * 200}/{number}/deeper/still").mkdir(parents=True)
    fill_blocks(loop_folder)
    with volumes.opened(VOLUME_ID) as root:
        delete(root, [b"tree"])
    assert not (loop_folder / "tree").exists()


def test_a_volume_with_as_many_files_as_it_can_have_is_cleaned(volumes: Volumes, loop_folder: Path) -> None:
    fill_inodes(loop_folder)
    with volumes.opened(VOLUME_ID) as root:
        with pytest.raises(QuotaExceeded):
            write_file(root, b"new", b"x")
        delete(root, [b"many"])
        write_file(root, b"new", b"x")
    assert os.listdir(loop_folder) == ["new"]


def test_what_filled_a_volume_when_its_process_was_killed_is_swept(settings: Settings, loop_folder: Path) -> None:
    left = loop_folder / draft_name().decode()
    left.mkdir()
    (left / "half").mkdir()
    fill_blocks(left)
    with pytest.raises(OSError, match="No space left"):
        (loop_folder / "folder").mkdir()
    Volumes(settings).sweep_all()
    assert os.listdir(loop_folder) == []


def test_what_is_deleted_in_a_volume_that_is_closed_to_writers_goes(settings: Settings) -> None:
    host = replace(settings, volume_allocation="sparse")
    Volumes(host).create(VOLUME_ID, 32)
    folder = volume_path(host, VOLUME_ID)
    (folder / "old/logs").mkdir(parents=True)
    (folder / "old/logs/1").write_bytes(b"x")
    ballast = Ballast(host)
    try:
        ballast.take_on([VOLUME_ID])
        with Volumes(host).opened(VOLUME_ID) as root:
            delete(root, [b"old"])
    finally:
        ballast.drop()
    assert os.listdir(folder) == []
