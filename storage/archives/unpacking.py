"""Opening an archive in a volume: everything in it comes out, or nothing does."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from storage.archives.allowance import Allowance
from storage.archives.extraction import Extraction
from storage.archives.formats import ArchiveFormat, format_of
from storage.archives.merging import merge
from storage.archives.packing import Report
from storage.archives.streams import decompressed
from storage.archives.tar_reader import unpack_tar
from storage.archives.zip_reader import unpack_zip
from storage.beneath import Root, opened_file
from storage.failures import described
from storage.folders import make_in
from storage.staging import staged


@dataclass(frozen=True, slots=True)
class Unpacked:
    """How many files came out of an archive, and how many bytes of content they have."""

    files: int
    size_bytes: int


def decompress(root: Root, archive: bytes, destination: bytes, report: Report | None = None) -> Unpacked:
    """Unpack the file `archive`, whose content tells its format, into the folder `destination`.

    Existing folders are merged, existing files replaced. `report` is told the bytes of the archive that are read.
    Raises Invalid for an archive that is damaged, unsafe or a bomb, QuotaExceeded, Conflict, NotFound, PathTraversal.
    """
    with described(archive), opened_file(root.fd, archive) as fd, staged(root) as stage_fd:
        tree_fd = make_in(root, stage_fd, b"tree")
        try:
            tell = _teller(fd, report)
            with closing(Extraction(root, tree_fd, _allowance(root, fd), tell)) as extraction:
                size_bytes = _unpack(fd, extraction)
                extraction.finish()
            merge(root, tree_fd, destination)
        finally:
            os.close(tree_fd)
    return Unpacked(extraction.files, size_bytes)


def _allowance(root: Root, archive_fd: int) -> Allowance:
    volume = os.fstatvfs(archive_fd)
    free_bytes = volume.f_bavail * volume.f_frsize
    if root.room:
        free_bytes = min(free_bytes, root.room.free_bytes)
    return Allowance(archive_fd, free_bytes)


def _teller(fd: int, report: Report | None) -> Callable[[], None]:
    """A function that reports how much of the archive is read."""
    size = os.fstat(fd).st_size

    def tell() -> None:
        if report:
            report(os.lseek(fd, 0, os.SEEK_CUR), size)

    return tell


def _unpack(fd: int, extraction: Extraction) -> int:
    """Unpack all members; returns how many bytes of content they have."""
    archive_format = format_of(fd)
    if archive_format is ArchiveFormat.ZIP:
        unpack_zip(fd, extraction)
        return extraction.allowance.logical_bytes
    with decompressed(fd, archive_format) as source:
        unpack_tar(source, extraction)
        size_bytes = extraction.allowance.logical_bytes
        while rest := source.read(1024 * 1024):  # what follows the end must at least be whole
            extraction.pass_over(len(rest))
    return size_bytes
