"""Writing tar: headers in GNU's variant, which takes any name and any size and opens everywhere."""

from __future__ import annotations

import tarfile

from storage.archives.streams import ByteSink
from storage.paths import shown
from storage.walking import Found

_END = bytes(2 * tarfile.BLOCKSIZE)


class TarWriter:
    """Writes members one after the other. A file's content must have the size its header says."""

    def __init__(self, sink: ByteSink) -> None:
        self._sink = sink
        self._padding = 0

    def add_folder(self, found: Found) -> None:
        """A folder."""
        self._header(found, tarfile.DIRTYPE, 0)

    def add_link(self, found: Found, target: bytes) -> None:
        """A symlink."""
        self._header(found, tarfile.SYMTYPE, 0, target)

    def begin_file(self, found: Found, size: int) -> None:
        """A file; its `size` bytes follow through `write`, then `end_file`."""
        self._header(found, tarfile.REGTYPE, size)
        self._padding = -size % tarfile.BLOCKSIZE

    def write(self, data: bytes | memoryview) -> None:
        """Some of the file's content."""
        self._sink.write(data)

    def end_file(self) -> None:
        """The file's content is complete."""
        self._sink.write(bytes(self._padding))

    def finish(self) -> None:
        """Nothing comes after this."""
        self._sink.write(_END)

    def _header(self, found: Found, kind: bytes, size: int, target: bytes = b"") -> None:
        info = tarfile.TarInfo(shown(found.path))
        info.type, info.size, info.linkname = kind, size, shown(target)
        info.mode = found.status.st_mode & 0o777
        info.mtime = int(found.status.st_mtime)
        info.uid, info.gid = found.status.st_uid, found.status.st_gid
        self._sink.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
