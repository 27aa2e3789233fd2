"""Writing zip as a stream, deflated by isa-l (APPNOTE.TXT, the format's own specification, names the fields)."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass

from isal import isal_zlib

from storage.archives.streams import ByteSink
from storage.walking import Found

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_STORED, _DEFLATED = 0, 8
_SIZES_FOLLOW, _UTF8 = 1 << 3, 1 << 11
_UNIX = 3 << 8
_PLAIN_VERSION, _LARGE_VERSION = 20, 45
_MARK = 0xFFFFFFFF
# Leaves room for content that deflating makes larger.
_LARGE_FILE_BYTES = 0xF0000000
_LEVEL = 2
_ENTRY_COUNT_MARK = 0xFFFF


@dataclass
class _Entry:
    """The member being written."""

    name: bytes
    flags: int
    method: int
    stamp: tuple[int, int]
    mtime: int
    mode: int
    offset: int
    large: bool
    crc: int = 0
    size: int = 0
    packed: int = 0


class ZipWriter:
    """Writes members one after the other, then the directory of them all."""

    def __init__(self, sink: ByteSink) -> None:
        self._sink = sink
        self._offset = 0
        self._directory = bytearray()
        self._count = 0
        self._entry = _Entry(b"", 0, 0, (0, 0), 0, 0, 0, False)
        self._packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, -15)

    def add_folder(self, found: Found) -> None:
        """A folder."""
        self._begin(found, found.path + b"/", 0, _STORED)
        self.end_file()

    def add_link(self, found: Found, target: bytes) -> None:
        """A symlink: its target is the content."""
        self._begin(found, found.path, len(target), _STORED)
        self.write(target)
        self.end_file()

    def begin_file(self, found: Found, size: int) -> None:
        """A file; its `size` bytes follow through `write`, then `end_file`."""
        self._packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, -15)
        self._begin(found, found.path, size, _DEFLATED)

    def write(self, data: bytes | memoryview) -> None:
        """Some of the file's content."""
        self._entry.crc = isal_zlib.crc32(data, self._entry.crc)
        self._entry.size += len(data)
        self._put_packed(data if self._entry.method == _STORED else self._packer.compress(data))

    def end_file(self) -> None:
        """The file's content is complete."""
        entry = self._entry
        if entry.method == _DEFLATED:
            self._put_packed(self._packer.flush())
        sizes = "<4sLQQ" if entry.large else "<4sLLL"
        self._put(struct.pack(sizes, b"PK\x07\x08", entry.crc, entry.packed, entry.size))
        self._note(entry)

    def finish(self) -> None:
        """Write the directory; nothing comes after this."""
        start, size = self._offset, len(self._directory)
        self._put(self._directory)
        if self._count >= _ENTRY_COUNT_MARK or start + size >= _MARK:
            at = self._offset
            counts = (self._count, self._count, size, start)
            self._put(struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, _UNIX | 45, 45, 0, 0, *counts))
            self._put(struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1))
        count = min(self._count, _ENTRY_COUNT_MARK)
        self._put(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, min(size, _MARK), min(start, _MARK), 0))

    def _begin(self, found: Found, name: bytes, size: int, method: int) -> None:
        mtime = int(found.status.st_mtime)
        self._entry = entry = _Entry(
            name,
            _SIZES_FOLLOW | (_UTF8 if _is_utf8(name) else 0),
            method,
            _dos_time(mtime),
            mtime,
            found.status.st_mode & 0o170777,
            self._offset,
            size >= _LARGE_FILE_BYTES,
        )
        version, extra, mark = _PLAIN_VERSION, _time_extra(mtime), 0
        if entry.large:
            version, mark = _LARGE_VERSION, _MARK
            extra += struct.pack("<2H2Q", 1, 16, 0, 0)
        fixed = (b"PK\x03\x04", version, entry.flags, method, *entry.stamp, 0, mark, mark, len(name), len(extra))
        self._put(_LOCAL.pack(*fixed) + name + extra)

    def _note(self, entry: _Entry) -> None:
        extra = _time_extra(entry.mtime)
        size, packed, offset, version = entry.size, entry.packed, entry.offset, _PLAIN_VERSION
        if entry.large or offset >= _MARK:
            extra += struct.pack("<2H3Q", 1, 24, size, packed, offset)
            size = packed = offset = _MARK
            version = _LARGE_VERSION
        folder_bit = 0x10 if entry.name.endswith(b"/") else 0
        fixed = (b"PK\x01\x02", _UNIX | version, version, entry.flags, entry.method, *entry.stamp, entry.crc, packed)
        rest = (size, len(entry.name), len(extra), 0, 0, 0, entry.mode << 16 | folder_bit, offset)
        self._directory += _CENTRAL.pack(*fixed, *rest) + entry.name + extra
        self._count += 1

    def _put_packed(self, data: bytes | memoryview) -> None:
        self._entry.packed += len(data)
        self._put(data)

    def _put(self, data: bytes | bytearray | memoryview) -> None:
        self._sink.write(bytes(data) if isinstance(data, bytearray) else data)
        self._offset += len(data)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _time_extra(mtime: int) -> bytes:
    """The "UT" field with the time of change in Unix seconds, which the two-second DOS stamp cannot hold."""
    return struct.pack("<2HBl", 0x5455, 5, 1, min(max(mtime, 0), 2**31 - 1))


def _dos_time(mtime: int) -> tuple[int, int]:
    """Time and date as DOS counts them, from 1980 to 2107."""
    moment = time.gmtime(min(max(mtime, 315532800), 4354819198))
    return (
        moment.tm_hour << 11 | moment.tm_min << 5 | moment.tm_sec // 2,
        (moment.tm_year - 1980) << 9 | moment.tm_mon << 5 | moment.tm_mday,
    )
