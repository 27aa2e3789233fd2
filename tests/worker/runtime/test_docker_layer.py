"""What a container keeps of the host's disk, seen from outside."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

from worker.runtime.docker_layer import deleted_bytes

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
