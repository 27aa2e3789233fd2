"""Which archive formats there are, and how a file's first bytes tell them."""

from __future__ import annotations

import os
import tarfile
from enum import StrEnum

from fleet.errors import Invalid, invalid_field


class ArchiveFormat(StrEnum):
    """An archive format; the value is its name in the API and the end of its file names."""

    ZIP = "zip"
    TAR = "tar"
    TAR_GZ = "tar.gz"
    TAR_BZ2 = "tar.bz2"
    TAR_ZST = "tar.zst"


_SIGNATURES = {
    b"PK\x03\x04": ArchiveFormat.ZIP,
    b"PK\x05\x06": ArchiveFormat.ZIP,
    b"\x1f\x8b": ArchiveFormat.TAR_GZ,
    b"BZh": ArchiveFormat.TAR_BZ2,
    b"\x28\xb5\x2f\xfd": ArchiveFormat.TAR_ZST,
}


def format_named(name: str) -> ArchiveFormat:
    """The format called `name`; raises Invalid."""
    try:
        return ArchiveFormat(name)
    except ValueError as error:
        known = ", ".join(ArchiveFormat)
        raise invalid_field("format", f"Must be one of: {known}.") from error


def format_of(fd: int) -> ArchiveFormat:
    """The format of an open file by its content, whatever its name; raises Invalid when it is no archive."""
    start = os.pread(fd, tarfile.BLOCKSIZE, 0)
    for signature, found in _SIGNATURES.items():
        if start.startswith(signature):
            return found
    if _is_tar_header(start):
        return ArchiveFormat.TAR
    raise Invalid("This is no zip, tar, tar.gz, tar.bz2 or tar.zst archive.", code="not_an_archive")


def _is_tar_header(block: bytes) -> bool:
    if len(block) == tarfile.BLOCKSIZE and not any(block):
        return True  # an empty archive
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
