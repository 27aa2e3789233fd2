"""What the operating system says, in the words of the project's errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from fleet.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    LightdError,
    NotFound,
    PathTraversal,
    QuotaExceeded,
    Unavailable,
)
from storage.paths import shown

_FULL = (errno.ENOSPC, errno.EDQUOT)
_MISSING = (errno.ENOENT, errno.ESTALE)


@contextmanager
def described(path: bytes) -> Iterator[None]:
    """Turn an OSError of the block into the error a client sees about `path`."""
    try:
        yield
    except OSError as error:
        raise _described(error, shown(path)) from error


def _described(error: OSError, path: str) -> LightdError:
    code = error.errno
    if code in _FULL:
        return QuotaExceeded("The volume is full; delete something or make it larger.")
    if code in _MISSING:
        return NotFound(f"No such file or folder: {path}")
    if code == errno.ENOTDIR:
        return Conflict(f"A part of this path is not a folder: {path}", code="not_folder")
    if code == errno.EISDIR:
        return Conflict(f"This path is a folder: {path}", code="is_folder")
    if code == errno.EEXIST:
        return AlreadyExists(f"File already exists at path: {path}")
    if code == errno.ENOTEMPTY:
        return Conflict(f"The folder is not empty: {path}", code="not_empty")
    return _described_rarely(code, path)


def _described_rarely(code: int | None, path: str) -> LightdError:
    if code in (errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP, errno.EXDEV):
        return PathTraversal()
    if code == errno.EFBIG:
        return QuotaExceeded("The file is larger than the volume's file system allows.")
    if code in (errno.EPERM, errno.EACCES):
        return Forbidden(f"The volume does not allow this on: {path}")
    if code in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return Unavailable("This host has too many files open at the moment; try again.")
    if code == errno.EAGAIN:
        return Unavailable(f"A program holds a lease on this file, which ends within a minute; try again: {path}")
    if code == errno.ENOSYS:
        return Unavailable("This host's kernel is too old (openat2 needs Linux 5.6).")
    if code == errno.EMLINK:
        return Conflict("The folder holds as many folders as the file system allows.")
    return Unavailable(f"The volume's file system reports an error ({errno.errorcode.get(code or 0, code)}).")
