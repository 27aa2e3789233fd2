"""What a container keeps of the host's disk, seen from outside."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

import pytest

from fleet.errors import Conflict
from worker.runtime.docker_layer import changed_bytes, deleted_bytes

_SIZE_BYTES = 8 * 1024**2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def test_a_deleted_file_that_is_only_mapped_counts(tmp_path: Path) -> None:
    elsewhere, path = Path("/proc"), tmp_path / "mapped"
    before = deleted_bytes([os.getpid()], elsewhere)
    with path.open("w+b") as file:
        file.write(b"x" * _SIZE_BYTES)
        file.flush()
        os.fsync(file.fileno())
        # Unlike this call, Python's own mapping keeps the file open.
        place = _libc.mmap(None, _SIZE_BYTES, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    path.unlink()
    assert deleted_bytes([os.getpid()], elsewhere) - before >= _SIZE_BYTES
    assert _libc.munmap(place, _SIZE_BYTES) == 0
    assert deleted_bytes([os.getpid()], elsewhere) - before < _SIZE_BYTES


def test_a_file_with_holes_counts_as_what_an_image_made_of_it_would_take(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert changed_bytes(tmp_path) >= 1 << 40


def test_files_without_content_count_for_the_places_that_they_take(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    assert changed_bytes(tmp_path) >= 102 * 4096


def test_what_the_engine_makes_counts_only_for_what_is_written_to_it(tmp_path: Path) -> None:
    for folder in ("etc", "home/container", "app/data"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / ".dockerenv").touch()
    (tmp_path / "etc/mtab").symlink_to("/proc/mounts")
    assert changed_bytes(tmp_path) == 0
    (tmp_path / "etc/mtab").unlink()
    for name in (".dockerenv", "etc/mtab"):
        (tmp_path / name).write_bytes(b"x" * _SIZE_BYTES)
    assert changed_bytes(tmp_path) >= 2 * _SIZE_BYTES


def test_folders_too_deep_to_be_counted_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(20):
        Path("d" * 250).mkdir()
        os.chdir("d" * 250)
    with pytest.raises(Conflict, match="too deep"):
        changed_bytes(tmp_path)
