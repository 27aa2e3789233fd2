"""Reading the small files in which the kernel tells what it knows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

_READ_BYTES = 8192


def read_kernel_file(path: str) -> bytes:
    """All of a file of procfs or cgroupfs; raises OSError, also when what it tells of has ended."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _content(fd)
    finally:
        os.close(fd)


class KernelFiles:
    """Files, by a name for each, that are read again and again: opening one costs several times as much as reading it.

    Raises OSError when one of `paths` is missing; of `perhaps` any may be. They do not keep what they tell of alive.
    """

    def __init__(self, paths: Mapping[str, Path], perhaps: Mapping[str, Path]) -> None:
        self._descriptors: dict[str, int] = {}
        try:
            for name, path in paths.items():
                self._open(name, path)
            for name, path in perhaps.items():
                with contextlib.suppress(FileNotFoundError):
                    self._open(name, path)
        except OSError:
            self.close()
            raise

    def read(self, name: str) -> bytes:
        """What a file says now, nothing if it is missing; raises OSError when what it tells of has ended."""
        return _content(self._descriptors[name]) if name in self._descriptors else b""

    def close(self) -> None:
        """Let go of all; more than once is harmless."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def _open(self, name: str, path: Path) -> None:
        self._descriptors[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _content(descriptor: int) -> bytes:
    content = part = os.pread(descriptor, _READ_BYTES, 0)
    while len(part) == _READ_BYTES:
        part = os.pread(descriptor, _READ_BYTES, len(content))
        content += part
    return content
