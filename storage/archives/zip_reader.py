"""Reading zip: content is unfolded piece by piece and held against the directory."""

from __future__ import annotations

import bz2
import lzma
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from itertools import chain

from isal import isal_zlib

from fleet.errors import Invalid
from storage.archives.allowance import MOST_ENTRIES, too_many_entries
from storage.archives.extraction import Extraction
from storage.archives.members import Kind, Member, member, refused
from storage.archives.streams import ISAL_ERROR, damaged
from storage.archives.zip_directory import ZipDirectory, ZipEntry

_CHUNK_BYTES = 1024 * 1024
_LARGEST_DIRECTORY_BYTES = 64 * 1024 * 1024
_LARGEST_LINK_BYTES = 4096
# What 7-Zip takes at its strongest; LZMA fills a dictionary as large as the archive says.
_LARGEST_DICTIONARY_BYTES = 64 * 1024 * 1024
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED, _BZIP2, _LZMA = 0, 8, 12, 14
_LZMA_PROPERTIES_BYTES = 5
_BROKEN = (struct.error, ValueError, OverflowError, IndexError, EOFError, zlib.error, ISAL_ERROR, lzma.LZMAError)


def unpack_zip(fd: int, extraction: Extraction) -> None:
    """Make everything in the open zip file; raises Invalid when it is damaged, encrypted or unsafe."""
    directory = ZipDirectory(fd)
    if directory.size_bytes > _LARGEST_DIRECTORY_BYTES:
        raise refused("its directory is far too large")
    try:
        if directory.holds_more_than(MOST_ENTRIES):
            raise too_many_entries()
        for entry in directory.entries():
            os.lseek(fd, entry.header_at, os.SEEK_SET)  # where progress is read off
            _unpack_one(fd, entry, extraction)
    except _BROKEN as error:
        raise damaged() from error


def _unpack_one(fd: int, entry: ZipEntry, extraction: Extraction) -> None:
    if entry.is_encrypted:
        raise _unsupported("it is encrypted; open it elsewhere and upload the files.")
    found = _member(entry)
    content = _content(fd, entry)
    if found.kind is Kind.FOLDER:
        extraction.add_folder(found)
    elif found.kind is Kind.SYMLINK:
        if entry.size_bytes > _LARGEST_LINK_BYTES:
            raise refused("it holds a link that is far too long")
        target = b"".join(chunk for _, chunk in _checked(entry, content))
        extraction.add_link(member(entry.name, Kind.SYMLINK, 0, found.mtime, target=target))
    else:
        with extraction.new_file(found) as file:
            for offset, chunk in _checked(entry, content):
                file.write_at(offset, chunk)


def _unsupported(reason: str) -> Invalid:
    return Invalid(f"The archive cannot be opened here: {reason}", code="unsupported_archive")


def _member(entry: ZipEntry) -> Member:
    name, mode = entry.name, entry.mode
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFDIR or name.endswith(b"/"):
        return member(name, Kind.FOLDER, mode & 0o7777 or 0o755, entry.mtime)
    if kind == stat.S_IFLNK:
        return member(name, Kind.SYMLINK, 0, entry.mtime, target=b"?")
    if kind not in (0, stat.S_IFREG):
        raise refused(f"it holds a device or FIFO: {name[:100].decode('utf-8', 'replace')!r}")
    return member(name, Kind.FILE, mode & 0o7777 or 0o644, entry.mtime, entry.size_bytes)


def _content(fd: int, entry: ZipEntry) -> Iterator[bytes]:
    """The content in pieces of at most 1 MB. `zipfile` unfolds a whole MB of bzip2 or LZMA at once, to any size."""
    packed = _raw(fd, entry)
    if entry.method == _STORED:
        return packed
    if entry.method == _DEFLATED:
        return _inflated(packed)
    if entry.method == _BZIP2:
        return _unfolded(bz2.BZ2Decompressor(), packed)
    if entry.method == _LZMA:
        return _unlzmaed(packed)
    raise _unsupported(f"it uses compression method {entry.method}.")


def _raw(fd: int, entry: ZipEntry) -> Iterator[bytes]:
    header = os.pread(fd, _LOCAL.size, entry.header_at)
    signature, *_, name_length, extra_length = _LOCAL.unpack(header)
    if signature != b"PK\x03\x04":
        raise damaged()
    offset = entry.header_at + _LOCAL.size + name_length + extra_length
    missing = entry.packed_bytes
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


def _checked(entry: ZipEntry, content: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """The pieces with their places; raises Invalid when size or checksum are not what the directory says."""
    done, crc = 0, 0
    for chunk in content:
        if done + len(chunk) > entry.size_bytes:
            raise damaged()
        yield done, chunk
        done += len(chunk)
        crc = isal_zlib.crc32(chunk, crc)
    if done != entry.size_bytes or crc != entry.crc:
        raise damaged()
