"""Reading tar in one pass. `tarfile` parses the headers; names, links and content are ours to judge."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, cast

from storage.archives.extraction import Extraction
from storage.archives.members import Kind, member, refused
from storage.archives.pax import records_for_us
from storage.archives.streams import ByteSource, damaged

_CHUNK_BYTES = 1024 * 1024
# A member's header extensions (long names, pax records, maps of sparse files) are read whole by tarfile.
_LARGEST_HEADERS_BYTES = 4 * _CHUNK_BYTES
# It keeps pax records that are for all members to the end.
_LARGEST_GLOBALS = 64 * 1024

_LINKS = {tarfile.SYMTYPE: Kind.SYMLINK, tarfile.LNKTYPE: Kind.HARDLINK}


def unpack_tar(source: ByteSource, extraction: Extraction) -> None:
    """Make everything in the tar `source`; raises Invalid when it is damaged or unsafe."""
    stream = _Forward(source, extraction.pass_over)
    try:
        with tarfile.TarFile(
            fileobj=cast(BinaryIO, stream), encoding="utf-8", errors="surrogateescape", tarinfo=_StrictInfo
        ) as tar:
            info = tar.next() if tar.firstmember else None  # type: ignore[attr-defined]
            while info:
                _check_globals(tar.pax_headers)
                _unpack_one(stream, info, extraction)
                tar.members.clear()  # type: ignore[attr-defined] # kept for random access, which we don't need
                stream.begin_member()
                info = tar.next()
    except (tarfile.TarError, ValueError, OverflowError, IndexError, EOFError, RecursionError) as error:
        raise damaged() from error


def _unpack_one(stream: _Forward, info: tarfile.TarInfo, extraction: Extraction) -> None:
    name = info.name.encode("utf-8", "surrogateescape")
    target = info.linkname.encode("utf-8", "surrogateescape")
    if info.type in _LINKS:
        extraction.add_link(member(name, _LINKS[info.type], info.mode, info.mtime, target=target))
    elif info.isdir():
        extraction.add_folder(member(name, Kind.FOLDER, info.mode, info.mtime))
    elif info.isreg():
        with extraction.new_file(member(name, Kind.FILE, info.mode, info.mtime, info.size)) as file:
            for offset, size in _segments(info):
                for at, chunk in stream.chunks(size):
                    file.write_at(offset + at, chunk)
    else:
        raise refused(f"it holds a device or FIFO: {info.name[:100]!r}")


def _check_globals(headers: Mapping[str, str]) -> None:
    if sum(len(name) + len(value) for name, value in headers.items()) > _LARGEST_GLOBALS:
        raise refused("its global headers are far too large")


def _segments(info: tarfile.TarInfo) -> list[tuple[int, int]]:
    """Where the content that follows belongs: all of it, or the parts of a sparse file that are no holes."""
    sparse: list[tuple[int, int]] | None = info.sparse  # type: ignore[assignment]
    if sparse is None:
        return [(0, info.size)]
    end = 0
    segments = [segment for segment in sparse if segment[1]]
    for offset, size in segments:
        if offset < end or size < 0 or offset + size > info.size:
            raise damaged()
        end = offset + size
    return segments


class _StrictInfo(tarfile.TarInfo):
    """A header that must be right: tarfile alone takes a broken one for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _StrictInfo:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise damaged() from error

    def _proc_pax(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        """Let tarfile see no more of a pax header than is good for it."""
        stream = cast(_Forward, tar.fileobj)
        header = stream.read(self._block(self.size))  # type: ignore[attr-defined]
        kept = records_for_us(header[: self.size])
        self.size = len(kept)
        stream.put_back(kept.ljust(self._block(self.size), b"\0"))  # type: ignore[attr-defined]
        return cast(tarfile.TarInfo, super()._proc_pax(tar))  # type: ignore[misc]


class _Forward:
    """A source as a file that can only be read on, which is all that tarfile needs when members are taken in order."""

    mode = "rb"
    name = ""

    def __init__(self, source: ByteSource, pass_over: Callable[[int], None]) -> None:
        self._source = source
        self._pass_over = pass_over
        self._position = 0
        self._header_bytes = 0
        self._put_back: bytes | None = None

    def begin_member(self) -> None:
        """What is read from now on are the headers of another member."""
        self._header_bytes = 0

    def read(self, size: int) -> bytes:
        """Some of a member's headers; raises Invalid when they are too large together."""
        if self._put_back is not None:
            header, self._put_back = self._put_back, None
            return header
        self._header_bytes += size
        if self._header_bytes > _LARGEST_HEADERS_BYTES:
            raise refused("the headers of one of its members are far too large")
        self._pass_over(size)
        return self._next(size)

    def put_back(self, header: bytes) -> None:
        """Give this to whoever reads next, and reads just as much: it was read and counted before."""
        self._put_back = header

    def _next(self, size: int) -> bytes:
        parts = []
        missing = size
        while missing > 0 and (part := self._source.read(missing)):
            parts.append(part)
            missing -= len(part)
        self._position += size - missing
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:
            raise damaged()
        for _, chunk in self.chunks(position - self._position):
            self._pass_over(len(chunk))

    def chunks(self, size: int) -> Iterator[tuple[int, bytes]]:
        """The next `size` bytes in pieces, each with its place among them; raises Invalid when they are not there."""
        done = 0
        while done < size:
            chunk = self._next(min(size - done, _CHUNK_BYTES))
            if not chunk:
                raise damaged()
            yield done, chunk
            done += len(chunk)
