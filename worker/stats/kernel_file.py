"""Reading the small files in which the kernel tells what it knows."""

from __future__ import annotations

import os

_READ_BYTES = 64 * 1024


def read_kernel_file(path: str) -> bytes:
    """All of a file of procfs or cgroupfs; raises OSError, also when what it tells of has ended."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(fd, _READ_BYTES)
        while more := os.read(fd, _READ_BYTES):
            content += more
    finally:
        os.close(fd)
    return content
