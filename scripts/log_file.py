"""A log file that cannot fill the disk: at its size limit it becomes `<name>.1` and a new one begins."""

from __future__ import annotations

import os
from pathlib import Path

LOG_BYTES = 10 * 1024 * 1024


class LogFile:
    """Appends bytes to `path`; together with the one before it holds at most twice `limit_bytes`."""

    def __init__(self, path: Path, limit_bytes: int = LOG_BYTES) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._open()

    def write(self, data: bytes) -> None:
        """Append whole lines. Raises OSError when the disk is full."""
        if self._size_bytes + len(data) > self._limit_bytes and self._size_bytes:
            os.close(self._descriptor)
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            self._open()
        self._size_bytes += os.write(self._descriptor, data)

    def _open(self) -> None:
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size_bytes = os.fstat(self._descriptor).st_size
