"""Reading zip. `zipfile` parses the directory; content is inflated by isa-l and held against it."""

from __future__ import annotations

import bz2
import calendar
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from itertools import chain

from isal import isal_zlib

from fleet.errors import Invalid
from storage.archives.extraction import Extraction
from storage.archives.members import Kind, Member, member, refused
from storage.archives.streams import ISAL_ERROR, damaged

_CHUNK_BYTES = 1024 * 1024
_LARGEST_DIRECTORY_BYTES = 64 * 1024 * 1024
_LARGEST_LINK_BYTES = 4096
# What 7-Zip takes at its strongest; LZMA fills a dictionary as large as the archive says.
_LARGEST_DICTIONARY_BYTES = 64 * 1024 * 1024
_LOCAL = struct.Struct("<4s5H3L2H")
_UNIX, _MACOS = 3, 19
_ENCRYPTED, _UTF8 = 1, 1 << 11
_MARK = 0xFFFFFFFF
_LZMA_PROPERTIES_BYTES = 5
_BROKEN = (
    zipfile.BadZipFile, struct.error, ValueError, OverflowError, IndexError, EOFError, zlib.error, ISAL_ERROR,
    lzma.LZMAError,
)  # fmt: skip


def unpack_zip(fd: int, extraction: Extraction) -> None:
    """Make everything in the open zip file; raises Invalid when it is damaged, encrypted or unsafe."""
    if _directory_bytes(fd) > _LARGEST_DIRECTORY_BYTES:
        raise refused("its directory is far too large")
    try:
        with os.fdopen(os.dup(fd), "rb") as file, zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                os.lseek(fd, info.header_offset, os.SEEK_SET)  # where progress is read off
                _unpack_one(fd, info, extraction)
    except (NotImplementedError, RuntimeError) as error:
        raise Invalid(f"The archive cannot be opened here: {error}", code="unsupported_archive") from error
    except _BROKEN as error:
        raise damaged() from error


def _unpack_one(fd: int, info: zipfile.ZipInfo, extraction: Extraction) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise Invalid("The archive is encrypted; open it elsewhere and upload the files.", code="unsupported_archive")
    found = _member(info)
    content = _content(fd, info)
    if found.kind is Kind.FOLDER:
        extraction.add_folder(found)
    elif found.kind is Kind.SYMLINK:
        if info.file_size > _LARGEST_LINK_BYTES:
            raise refused("it holds a link that is far too long")
        target = b"".join(chunk for _, chunk in _checked(info, content))
        extraction.add_link(member(_name(info), Kind.SYMLINK, 0, found.mtime, target=target))
    else:
        with extraction.new_file(found) as file:
            for offset, chunk in _checked(info, content):
                file.write_at(offset, chunk)


def _member(info: zipfile.ZipInfo) -> Member:
    mode = info.external_attr >> 16 if info.create_system in (_UNIX, _MACOS) else 0
    name, mtime = _name(info), _mtime(info)
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFDIR or name.endswith(b"/"):
        return member(name, Kind.FOLDER, mode & 0o7777 or 0o755, mtime)
    if kind == stat.S_IFLNK:
        return member(name, Kind.SYMLINK, 0, mtime, target=b"?")
    if kind not in (0, stat.S_IFREG):
        raise refused(f"it holds a device or FIFO: {info.filename[:100]!r}")
    return member(name, Kind.FILE, mode & 0o7777 or 0o644, mtime, info.file_size)


def _name(info: zipfile.ZipInfo) -> bytes:
    """The name as bytes for disk.

    Unix tools write the bytes themselves, others say UTF-8 or mean code page 437; some on Windows write backslashes.
    """
    name = info.orig_filename
    if info.flag_bits & _UTF8:
        raw = name.encode("utf-8", "surrogateescape")
    elif info.create_system in (_UNIX, _MACOS):
        raw = name.encode("cp437")
    else:
        raw = name.encode("utf-8")
    if info.create_system not in (_UNIX, _MACOS) and b"/" not in raw:
        raw = raw.replace(b"\\", b"/")
    return raw


def _mtime(info: zipfile.ZipInfo) -> float:
    """The "UT" field's Unix seconds where there is one, else the stamp without a zone, taken for UTC."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<2H", extra)
        if kind == 0x5455 and size >= 5 and len(extra) >= 9 and extra[4] & 1:
            return float(struct.unpack_from("<l", extra, 5)[0])
        extra = extra[4 + size :]
    try:
        return float(calendar.timegm((*info.date_time, 0, 0, 0)))
    except ValueError:
        return 0.0


def _content(fd: int, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content in small pieces. `zipfile` itself unfolds a whole MB of bzip2 or LZMA at once, to any size."""
    packed = _raw(fd, info)
    if info.compress_type == zipfile.ZIP_STORED:
        return packed
    if info.compress_type == zipfile.ZIP_DEFLATED:
        return _inflated(packed)
    if info.compress_type == zipfile.ZIP_BZIP2:
        return _unfolded(bz2.BZ2Decompressor(), packed)
    if info.compress_type == zipfile.ZIP_LZMA:
        return _unlzmaed(packed)
    raise NotImplementedError(f"it uses compression method {info.compress_type}.")


def _raw(fd: int, info: zipfile.ZipInfo) -> Iterator[bytes]:
    header = os.pread(fd, _LOCAL.size, info.header_offset)
    signature, *_, name_length, extra_length = _LOCAL.unpack(header)
    if signature != b"PK\x03\x04":
        raise damaged()
    offset = info.header_offset + _LOCAL.size + name_length + extra_length
    missing = info.compress_size
    while missing > 0:
        chunk = os.pread(fd, min(missing, _CHUNK_BYTES), offset)
        if not chunk:
            raise damaged()
        yield chunk
        offset += len(chunk)
        missing -= len(chunk)


def _inflated(packed: Iterator[bytes]) -> Iterator[bytes]:
    inflater = isal_zlib.decompressobj(-15)
    for data in packed:
        while data and not inflater.eof:
            chunk = inflater.decompress(data, _CHUNK_BYTES)
            if chunk:
                yield chunk
            data = inflater.unconsumed_tail
    while not inflater.eof:
        chunk = inflater.decompress(inflater.unconsumed_tail, _CHUNK_BYTES)
        if not chunk:
            raise damaged()
        yield chunk


def _unlzmaed(packed: Iterator[bytes]) -> Iterator[bytes]:
    """LZMA as zip has it (APPNOTE.TXT 5.8): version, length of the properties, the properties, the stream."""
    first = next(packed, b"")
    _, length, packing, dictionary_bytes = struct.unpack_from("<HHBL", first)
    if length != _LZMA_PROPERTIES_BYTES or packing >= 9 * 5 * 5:
        raise damaged()
    if dictionary_bytes > _LARGEST_DICTIONARY_BYTES:
        raise refused("opening it takes too much memory")
    literal = {"lc": packing % 9, "lp": packing // 9 % 5, "pb": packing // 45}
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": dictionary_bytes, **literal}]
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    return _unfolded(unpacker, chain([first[4 + length :]], packed))


def _unfolded(unpacker: bz2.BZ2Decompressor | lzma.LZMADecompressor, packed: Iterator[bytes]) -> Iterator[bytes]:
    for data in packed:
        rest = data
        while not unpacker.eof and (rest or not unpacker.needs_input):
            try:
                chunk = unpacker.decompress(rest, _CHUNK_BYTES)
            except OSError as error:  # what bz2 says of bad data
                raise damaged() from error
            rest = b""
            yield chunk


def _checked(info: zipfile.ZipInfo, content: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """The pieces with their places; raises Invalid when size or checksum are not what the directory says."""
    done, crc = 0, 0
    for chunk in content:
        if done + len(chunk) > info.file_size:
            raise damaged()
        yield done, chunk
        done += len(chunk)
        crc = isal_zlib.crc32(chunk, crc)
    if done != info.file_size or crc != info.CRC:
        raise damaged()


def _directory_bytes(fd: int) -> int:
    """How large the directory says it is, before anything reads it; 0 when its end is not found."""
    size = os.fstat(fd).st_size
    start = max(size - 66_000, 0)
    tail = os.pread(fd, size - start, start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        return 0
    directory_bytes: int = struct.unpack_from("<L", tail, at + 12)[0]
    locator = tail[at - 20 : at] if at >= 20 else b""
    if directory_bytes != _MARK or not locator.startswith(b"PK\x06\x07"):
        return directory_bytes
    record = os.pread(fd, 56, struct.unpack_from("<Q", locator, 8)[0])
    large: int = struct.unpack_from("<Q", record, 40)[0] if len(record) == 56 else 0
    return large
