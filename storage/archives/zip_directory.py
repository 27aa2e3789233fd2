"""The directory at the end of a zip (PKWARE's APPNOTE.TXT), member by member, in constant memory however long it is."""

from __future__ import annotations

import calendar
import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from storage.archives.streams import damaged

_ENTRY = struct.Struct("<4s4B4H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY_MARK, _END_MARK, _END_64_MARK, _LOCATOR_MARK = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LONGEST_COMMENT_BYTES = 0xFFFF
_READ_BYTES = 256 * 1024
_UNIX, _MACOS = 3, 19
_ENCRYPTED, _UTF8 = 1, 1 << 11
_IN_ZIP64 = 0xFFFFFFFF
_ZIP64_FIELD, _UNIX_TIME_FIELD = 0x0001, 0x5455


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """What the directory says of one member.

    `name` is as it shall be on disk, `mode` a Unix mode with its type, 0 where the archive has none, `mtime` in Unix
    seconds; `header_at` is where in the archive the member's own header begins, sizes are in bytes.
    """

    name: bytes
    mode: int
    mtime: float
    is_encrypted: bool
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    header_at: int


class ZipDirectory:
    """The directory of an open zip file; raises Invalid where there is none.

    Members are counted, because the number of them that stands at its end may be a lie.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        end, self.size_bytes, offset = _found(fd)
        self._start = end - self.size_bytes
        self._before_bytes = self._start - offset  # what stands before the archive, as in one that unpacks itself
        if self._start < 0 or self._before_bytes < 0:
            raise damaged()

    def holds_more_than(self, most: int) -> bool:
        """Whether there are more members; nothing about them is kept."""
        if self.size_bytes // _ENTRY.size <= most:
            return False
        return any(number >= most for number, _ in enumerate(self._records()))

    def entries(self) -> Iterator[ZipEntry]:
        """The members in the directory's order; raises Invalid, struct.error, ValueError where it is damaged."""
        for fields, name, extra in self._records():
            yield self._entry(fields, name, _extra_fields(extra))

    def _records(self) -> Iterator[tuple[tuple[int, ...], bytes, bytes]]:
        """The fixed fields of each member, its name and its extra fields, as they are."""
        with io.BufferedReader(_Part(self._fd, self._start, self.size_bytes), _READ_BYTES) as directory:
            while header := directory.read(_ENTRY.size):
                mark, *fields = _ENTRY.unpack(header)
                name_length, extra_length, comment_length = fields[11:14]
                more = directory.read(name_length + extra_length)
                if mark != _ENTRY_MARK or len(more) != name_length + extra_length:
                    raise damaged()
                directory.read(comment_length)
                yield tuple(fields), more[:name_length], more[name_length:]

    def _entry(self, fields: tuple[int, ...], name: bytes, extra: dict[int, bytes]) -> ZipEntry:
        _, system, _, _, flags, method, time, date, crc, packed_bytes, size_bytes, *_, attributes, header_at = fields
        from_unix = system in (_UNIX, _MACOS)
        large = io.BytesIO(extra.get(_ZIP64_FIELD, b""))
        # In this order, and only those that did not fit.
        size_bytes, packed_bytes, header_at = (
            struct.unpack("<Q", large.read(8))[0] if value == _IN_ZIP64 else value
            for value in (size_bytes, packed_bytes, header_at)
        )
        header_at += self._before_bytes
        if header_at >= self._start:
            raise damaged()
        return ZipEntry(
            name=_name_on_disk(name, from_unix, is_utf8=bool(flags & _UTF8)),
            mode=attributes >> 16 if from_unix else 0,
            mtime=_mtime(date, time, extra),
            is_encrypted=bool(flags & _ENCRYPTED),
            method=method,
            crc=crc,
            packed_bytes=packed_bytes,
            size_bytes=size_bytes,
            header_at=header_at,
        )


class _Part(io.RawIOBase):
    """Some bytes of an open file, whose own position is left alone."""

    def __init__(self, fd: int, start: int, size_bytes: int) -> None:
        self._fd = fd
        self._at = start
        self._end = start + size_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = os.preadv(self._fd, [buffer[: self._end - self._at]], self._at)
        self._at += count
        return count


def _found(fd: int) -> tuple[int, int, int]:
    """Where the directory ends, its size, and where it says that it begins."""
    size_bytes = os.fstat(fd).st_size
    tail_at = max(size_bytes - _END.size - _LONGEST_COMMENT_BYTES, 0)
    tail = os.pread(fd, size_bytes - tail_at, tail_at)
    at = tail.rfind(_END_MARK, 0, max(len(tail) - _END.size, 0) + len(_END_MARK))
    if at < 0:
        raise damaged()
    *_, directory_bytes, offset, _ = _END.unpack_from(tail, at)
    end = tail_at + at
    locator_at = at - _LOCATOR.size
    if locator_at >= 0 and tail.startswith(_LOCATOR_MARK, locator_at):
        _, _, told_at, _ = _LOCATOR.unpack_from(tail, locator_at)
        # Right before its locator as a rule; where it says, if it is longer than it must be.
        for record_at in (tail_at + locator_at - _END_64.size, told_at):
            record = os.pread(fd, _END_64.size, record_at) if 0 <= record_at < size_bytes else b""
            if len(record) == _END_64.size and record.startswith(_END_64_MARK):
                *_, directory_bytes, offset = _END_64.unpack(record)
                return record_at, directory_bytes, offset
    return end, directory_bytes, offset


def _extra_fields(extra: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while len(extra) - at >= 4:
        kind, size = struct.unpack_from("<2H", extra, at)
        at += 4 + size
        if at > len(extra):
            raise damaged()
        found.setdefault(kind, extra[at - size : at])
    return found


def _name_on_disk(name: bytes, from_unix: bool, *, is_utf8: bool) -> bytes:
    """Unix tools write the bytes themselves, others say UTF-8 or mean code page 437; some write backslashes."""
    if from_unix:
        return name
    raw = name if is_utf8 else name.decode("cp437").encode()
    return raw if b"/" in raw else raw.replace(b"\\", b"/")


def _mtime(date: int, time: int, extra: dict[int, bytes]) -> float:
    """The "UT" field's Unix seconds where there is one, else the stamp without a zone, taken for UTC."""
    stamp = extra.get(_UNIX_TIME_FIELD, b"")
    if len(stamp) >= 5 and stamp[0] & 1:
        return float(struct.unpack_from("<l", stamp, 1)[0])
    day = (1980 + (date >> 9), date >> 5 & 15, date & 31)
    try:
        return float(calendar.timegm((*day, time >> 11, time >> 5 & 63, (time & 31) * 2, 0, 0, 0)))
    except ValueError:
        return 0.0
