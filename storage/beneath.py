"""Opening what lies beneath a volume, and nothing else, whoever rearranges it meanwhile.

The kernel itself resolves every path, through `openat2` with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS,
so there is no moment between a check and a use; where it gives up, every step is taken from a folder that is held open.
All later steps work on the descriptors it returned.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import Conflict, NotFound, PathTraversal
from storage.room import Room
from storage.stepwise import open_in_steps

# asm-generic gives new system calls the same number on every architecture that Lightd runs on.
_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
# The kernel answers EAGAIN when a rename anywhere on the host raced with a `..` it followed. A program that renames all
# the time would keep everybody else from such paths.
_ATTEMPTS = 16
_RENAME_NOREPLACE = 1

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@dataclass(frozen=True, slots=True)
class Root:
    """An open volume: the descriptor of its root folder, who owns what is made in it, how much more fits.

    `room` is None where the kernel alone tells in time what does not fit.
    """

    fd: int
    owner: tuple[int, int]
    room: Room | None = None


@contextmanager
def opened_root(folder: Path, owner: tuple[int, int], room: Room | None = None) -> Iterator[Root]:
    """Open a volume's root folder, and close its room with it; raises NotFound when there is none."""
    try:
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound("Volume not found") from error
    try:
        yield Root(fd, owner, room)
    finally:
        os.close(fd)
        if room:
            room.close()


def open_beneath(folder_fd: int, path: bytes, flags: int) -> int:
    """Open `path` below `folder_fd`; symlinks are followed as long as they stay below it.

    Raises PathTraversal where they do not, Unavailable when the tree changes too fast to resolve a very long path, and
    OSError for the rest.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    for _ in range(_ATTEMPTS):
        fd = _libc.syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_long(folder_fd),
            ctypes.c_char_p(path),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return int(fd)
        code = ctypes.get_errno()
        if code in (errno.EAGAIN, errno.EINTR):
            continue
        if code in (errno.EXDEV, errno.ELOOP):
            raise PathTraversal
        raise OSError(code, os.strerror(code), os.fsdecode(path))
    return open_in_steps(folder_fd, path, flags)


@contextmanager
def opened(folder_fd: int, path: bytes, flags: int) -> Iterator[int]:
    """Hold `path` open with `flags` (see `open_beneath`)."""
    fd = open_beneath(folder_fd, path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def opened_folder(folder_fd: int, path: bytes) -> Iterator[int]:
    """Hold a folder open for listing and as the base of further steps."""
    with opened(folder_fd, path, os.O_RDONLY | os.O_DIRECTORY) as fd:
        yield fd


@contextmanager
def opened_file(folder_fd: int, path: bytes, *, follow: bool = True) -> Iterator[int]:
    """Hold a regular file open for reading (see `open_file`)."""
    fd = open_file(folder_fd, path, follow=follow)
    try:
        yield fd
    finally:
        os.close(fd)


def open_file(folder_fd: int, path: bytes, *, follow: bool = True) -> int:
    """Open a regular file for reading.

    Looks at it before opening it for data, so a FIFO cannot make us wait and a device is never touched;
    raises Conflict for those and for a folder, PathTraversal for a symlink that leads out (or any, unless `follow`).
    """
    nofollow = 0 if follow else os.O_NOFOLLOW
    with opened(folder_fd, path, os.O_PATH | nofollow) as handle:
        check_regular(os.fstat(handle).st_mode)
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)


def check_regular(mode: int) -> None:
    """Raise Conflict unless `mode` is a regular file's."""
    if stat.S_ISDIR(mode):
        raise Conflict("This path is a folder, not a file.", code="is_folder")
    if not stat.S_ISREG(mode):
        raise Conflict("This path is not a regular file.", code="not_regular")


def is_folder(root: Root, path: bytes) -> bool:
    """Whether there is a folder at `path`, possibly behind a link in the volume; raises PathTraversal."""
    try:
        with opened(root.fd, path, os.O_PATH | os.O_DIRECTORY):
            return True
    except (FileNotFoundError, NotADirectoryError):
        return False


def split(path: bytes) -> tuple[bytes, bytes]:
    """The path of the folder something stands in (`.` for the root), and its name there."""
    folder, _, name = path.rpartition(b"/")
    return folder or b".", name


def rename_new(from_fd: int, old: bytes, to_fd: int, new: bytes) -> None:
    """Rename without ever replacing anything: FileExistsError when `new` is taken."""
    if _libc.renameat2(from_fd, old, to_fd, new, _RENAME_NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(new))
