"""Making an archive of files and folders in a volume."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from fleet.errors import Conflict, PathTraversal
from storage.archives.allowance import most_logical_bytes
from storage.archives.formats import ArchiveFormat
from storage.archives.members import climbs, leads_out, looks_absolute
from storage.archives.streams import ByteSink, compressed
from storage.archives.tar_writer import TarWriter
from storage.archives.zip_writer import ZipWriter
from storage.beneath import Root, open_file, opened, opened_folder, split
from storage.copying import check_free
from storage.draft import drafted
from storage.failures import described
from storage.folders import made_folder
from storage.paths import ROOT, outermost
from storage.walking import Found, walk, walk_one

_CHUNK_BYTES = 1024 * 1024
_ZEROS = bytes(_CHUNK_BYTES)

Report = Callable[[int, int], None]
"""Told how many bytes are done and how many there are in all; may raise to cancel."""


class MemberWriter(Protocol):
    """Writes one archive format."""

    def add_folder(self, found: Found) -> None: ...
    def add_link(self, found: Found, target: bytes) -> None: ...
    def begin_file(self, found: Found, size: int) -> None: ...
    def write(self, data: bytes | memoryview) -> None: ...
    def end_file(self) -> None: ...
    def finish(self) -> None: ...


def compress(
    root: Root,
    archive_format: ArchiveFormat,
    destination: bytes,
    paths: Sequence[bytes],
    report: Report | None = None,
    seal: Callable[[int], None] | None = None,
) -> int:
    """Make the archive `destination` of `paths` (none: the whole volume) and return its size in bytes.

    Members are named from the volume's root, each there once. The archive appears when it is complete; `seal` is given
    its descriptor right before, and may raise to keep it from appearing. FIFOs, sockets, symlinks that lead out of the
    volume or in circles, names that look like `\\..\\`, and what vanishes meanwhile are left out. Raises
    AlreadyExists, NotFound, QuotaExceeded, PathTraversal.
    """
    check_free(root, destination)
    _check_paths(root, paths)
    chosen = outermost(paths)
    folder, name = split(destination)
    with (
        made_folder(root, folder) as folder_fd,
        described(destination),
        drafted(root, folder_fd) as draft,
    ):
        _pack(root, archive_format, chosen, draft, report)
        if seal:
            seal(draft.fd)
        draft.publish(name, overwrite=False)
        return os.fstat(draft.fd).st_size


def _total_bytes(root: Root, paths: Sequence[bytes]) -> int:
    return sum(found.status.st_size for found in _chosen(root, paths) if stat.S_ISREG(found.status.st_mode))


def stream_archive(root: Root, archive_format: ArchiveFormat, path: bytes) -> Iterator[bytes]:
    """An archive of one folder in pieces as they are made; what the reader leaves, is not made.

    Raises NotFound and PathTraversal at once; what fails later ends the stream with that error. `root` must stay
    open until the iterator is closed.
    """
    if path != ROOT:
        _check_paths(root, [path])
    return _pieces(root, archive_format, [] if path == ROOT else [path])


def _pieces(root: Root, archive_format: ArchiveFormat, paths: Sequence[bytes]) -> Iterator[bytes]:
    """Nothing is opened or started before the first piece is asked for: a HEAD request never asks."""
    reading, writing = os.pipe()
    failures: list[BaseException] = []

    def produce() -> None:
        try:
            with os.fdopen(writing, "wb", buffering=0) as pipe:
                _pack(root, archive_format, paths, _WholeWrites(pipe.fileno()), None)
        except Exception as error:  # noqa: BLE001 (raised where it is read, else a part would pass for the whole)
            failures.append(error)

    producer = threading.Thread(target=produce, name="archive")
    producer.start()
    try:
        while piece := os.read(reading, _CHUNK_BYTES):
            yield piece
    finally:
        os.close(reading)  # a producer still at work gets EPIPE and ends
        producer.join()
    if failures:
        raise failures[0]


class _WholeWrites:
    """A descriptor as a sink."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def _pack(
    root: Root, archive_format: ArchiveFormat, paths: Sequence[bytes], sink: ByteSink, report: Report | None
) -> None:
    with compressed(sink, archive_format) as stream:
        writer: MemberWriter = ZipWriter(stream) if archive_format is ArchiveFormat.ZIP else TarWriter(stream)
        done, total, most = 0, _total_bytes(root, paths) if report else 0, most_logical_bytes(root.fd)

        def tell(size: int) -> None:
            nonlocal done
            done += size
            if max(done, total) > most:
                raise Conflict(
                    "The files are many times as large as the volume, counting their holes: nobody could open an "
                    "archive of them here; delete what has such holes, or leave it out.",
                    code="too_many_holes",
                )
            if report:
                report(done, total)

        for found in _chosen(root, paths):
            if not climbs(found.path):
                _add(root, writer, found, tell)
            tell(0)
        writer.finish()


def _check_paths(root: Root, paths: Sequence[bytes]) -> None:
    for path in paths:
        folder, name = split(path)
        with described(path), opened_folder(root.fd, folder) as folder_fd:
            os.stat(name, dir_fd=folder_fd, follow_symlinks=False)


def _chosen(root: Root, paths: Sequence[bytes]) -> Iterator[Found]:
    if not paths:
        with opened_folder(root.fd, ROOT) as root_fd:
            yield from walk(root_fd)
    for path in paths:
        folder, name = split(path)
        with described(path), opened_folder(root.fd, folder) as folder_fd:
            yield from walk_one(folder_fd, name, path)


def _add(root: Root, writer: MemberWriter, found: Found, tell: Callable[[int], None]) -> None:
    """Add what was found; `tell` hears of every piece of its content."""
    mode, named = found.status.st_mode, _named(found)
    if stat.S_ISDIR(mode):
        writer.add_folder(named)
    elif stat.S_ISLNK(mode):
        with suppress(OSError):  # no longer a link
            target = os.readlink(found.name, dir_fd=found.folder_fd)
            if not _leads_nowhere_inside(root, found.path, target):
                writer.add_link(named, target)
    elif stat.S_ISREG(mode):
        _add_file(writer, named, tell)


def _named(found: Found) -> Found:
    """As it is called in an archive: `C:\\x` and the like, which are plain names here, must not look absolute there."""
    return replace(found, path=b"./" + found.path) if looks_absolute(found.path + b"/") else found


def _leads_nowhere_inside(root: Root, path: bytes, target: bytes) -> bool:
    """Whether no archive could be opened that has this symlink: it leads out of the volume, or in circles."""
    if leads_out(path, target):
        return True
    try:
        with suppress(OSError), opened(root.fd, path, os.O_PATH):
            return False
    except PathTraversal:
        return True
    return False  # what it points to is not there, but would be inside


def _add_file(writer: MemberWriter, found: Found, tell: Callable[[int], None]) -> None:
    """Exactly as many bytes as the file has now: what is cut off meanwhile becomes zeros, what is added is left."""
    try:
        fd = open_file(found.folder_fd, found.name, follow=False)
    except (FileNotFoundError, PathTraversal, Conflict):
        return  # gone, or something else stands there by now
    try:
        missing = os.fstat(fd).st_size
        writer.begin_file(found, missing)
        while missing and (chunk := os.read(fd, min(missing, _CHUNK_BYTES))):
            writer.write(chunk)
            missing -= len(chunk)
            tell(len(chunk))
        while missing:
            writer.write(_ZEROS[:missing])
            missing -= min(missing, len(_ZEROS))
        writer.end_file()
    finally:
        os.close(fd)
