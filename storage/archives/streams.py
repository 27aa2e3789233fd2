"""Compressed streams: bytes go in or come out, several cores work on them where the format allows."""

from __future__ import annotations

import bz2
import io
import os
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import BinaryIO, Protocol, cast

import zstandard
from isal import igzip_threaded, isal_zlib

from fleet.errors import Invalid
from storage.archives.formats import ArchiveFormat

_THREADS = min(os.cpu_count() or 1, 4)
# isa-l's own scale, 0 to 3; 2 comes closest to gzip's usual size.
_GZIP_LEVEL = 2
# The level that is about as fast as isa-l; small jobs keep all cores busy to the end.
_ZSTD_LEVEL = 1
_ZSTD_JOB_BYTES = 2 * 1024 * 1024
# What `zstd` itself accepts without being told to take more memory.
_ZSTD_WINDOW_BYTES = 128 * 1024 * 1024
# Also the size of a block. With the usual 9 archives are 4 % smaller, but take a core longer than `tar cjf` does.
_BZ2_LEVEL = 6
_BZ2_BLOCK_BYTES = 100_000 * _BZ2_LEVEL
_PIPE_BYTES = 1024 * 1024
# Its type stub gives the exception as a value.
ISAL_ERROR = cast(type[Exception], isal_zlib.IsalError)


class ByteSink(Protocol):
    """Takes bytes."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Take all of `data`."""


class ByteSource(Protocol):
    """Gives bytes, fewer than asked for only at its end."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""


@contextmanager
def compressed(sink: ByteSink, archive_format: ArchiveFormat) -> Iterator[ByteSink]:
    """A sink whose bytes arrive compressed in `sink`; complete when the block has ended."""
    if archive_format is ArchiveFormat.TAR_GZ:
        writer = igzip_threaded.open(_Forward(sink), "wb", _GZIP_LEVEL, threads=_THREADS, block_size=_PIPE_BYTES)
        with closing(writer):
            yield writer
    elif archive_format is ArchiveFormat.TAR_BZ2:
        with _ParallelBzip2(sink) as bzip2:
            yield bzip2
    elif archive_format is ArchiveFormat.TAR_ZST:
        packer = zstandard.ZstdCompressor(compression_params=_zstd_parameters())
        with packer.stream_writer(cast(BinaryIO, _Forward(sink)), closefd=False) as frame:
            yield frame
    else:
        yield sink


@contextmanager
def decompressed(fd: int, archive_format: ArchiveFormat) -> Iterator[ByteSource]:
    """The bytes in a compressed open file; reading raises Invalid where it is damaged or cut off."""
    with os.fdopen(os.dup(fd), "rb", buffering=0) as file:
        file.seek(0)
        if archive_format is ArchiveFormat.TAR_GZ:
            with closing(igzip_threaded.open(file, "rb", threads=1, block_size=_PIPE_BYTES)) as gzip:
                yield _Checked(gzip)
        elif archive_format is ArchiveFormat.TAR_BZ2:
            with bz2.open(file, "rb") as bzip2:
                yield _Checked(bzip2)
        elif archive_format is ArchiveFormat.TAR_ZST:
            unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
            with unpacker.stream_reader(file, read_across_frames=True, closefd=False) as frame:
                yield _Checked(io.BufferedReader(frame, _PIPE_BYTES))
        else:
            yield _Checked(io.BufferedReader(file, _PIPE_BYTES))


def _zstd_parameters() -> zstandard.ZstdCompressionParameters:
    return zstandard.ZstdCompressionParameters.from_level(
        _ZSTD_LEVEL, threads=_THREADS, job_size=_ZSTD_JOB_BYTES, overlap_log=1, write_checksum=True
    )


class _Forward(io.RawIOBase):
    """A sink as the file object that compression libraries want."""

    def __init__(self, sink: ByteSink) -> None:
        self._sink = sink

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        self._sink.write(data)
        return len(data)


class _Checked:
    """A source that says in the project's words that its data is damaged."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source

    def read(self, size: int) -> bytes:
        try:
            return self._source.read(size)
        except (OSError, EOFError, ValueError, zlib.error, ISAL_ERROR, zstandard.ZstdError) as error:
            raise damaged() from error


class _ParallelBzip2:
    """bzip2 in blocks that are compressed side by side, each a stream of its own, as the format allows."""

    def __init__(self, sink: ByteSink) -> None:
        self._sink = sink
        self._pool = ThreadPoolExecutor(_THREADS)
        self._waiting: deque[Future[bytes]] = deque()
        self._block = bytearray()
        self._empty = True

    def __enter__(self) -> _ParallelBzip2:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def write(self, data: bytes | memoryview) -> None:
        self._block += data
        while len(self._block) >= _BZ2_BLOCK_BYTES:
            self._submit(bytes(self._block[:_BZ2_BLOCK_BYTES]))
            del self._block[:_BZ2_BLOCK_BYTES]

    def _submit(self, block: bytes) -> None:
        self._empty = False
        self._waiting.append(self._pool.submit(bz2.compress, block, _BZ2_LEVEL))
        if len(self._waiting) > 2 * _THREADS:
            self._sink.write(self._waiting.popleft().result())

    def _finish(self) -> None:
        if self._block or self._empty:
            self._submit(bytes(self._block))
        while self._waiting:
            self._sink.write(self._waiting.popleft().result())


def damaged() -> Invalid:
    """The error for an archive whose bytes make no sense."""
    return Invalid("The archive is damaged or cut off; nothing of it was kept.", code="damaged_archive")
