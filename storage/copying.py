"""Copying files and folders within a volume, and moving their bytes inside the kernel."""

from __future__ import annotations

import errno
import os
import stat

from fleet.errors import AlreadyExists, Invalid
from storage.beneath import Root, open_beneath, opened, opened_file, opened_folder, rename_new, split
from storage.draft import hand_over
from storage.failures import described
from storage.folders import link_in, made_folder, make_in
from storage.paths import shown
from storage.room import Room, take_one
from storage.staging import staged
from storage.walking import DEEPEST_FOLDER, names_in

_COPIED_AT_ONCE_BYTES = 1 << 30
_PERMISSIONS = 0o777
_WORKING_NAME = b"copy"


def copy(root: Root, source: bytes, destination: bytes) -> None:
    """Copy a file, a symlink (as a symlink) or a folder with all it holds to a new path, whole or not at all.

    Permissions and times are kept, FIFOs and sockets left out. Raises NotFound, AlreadyExists, QuotaExceeded,
    PathTraversal, and Invalid for a folder copied into itself or nested too deep.
    """
    if destination.startswith(source + b"/"):
        raise Invalid("A folder cannot be copied into itself.")
    check_leads_nowhere_else(root, source)
    check_free(root, destination)
    folder, name = split(source)
    with described(source), opened_folder(root.fd, folder) as folder_fd, staged(root) as stage_fd:
        if not _copy_entry(root, folder_fd, name, stage_fd, _WORKING_NAME, 0):
            raise Invalid("FIFOs, sockets and devices cannot be copied.")
        settle(root, stage_fd, _WORKING_NAME, destination)


def settle(root: Root, stage_fd: int, name: bytes, destination: bytes) -> None:
    """Move something finished out of its staging folder to a path that must be free; raises AlreadyExists."""
    folder, last = split(destination)
    with made_folder(root, folder) as folder_fd, described(destination):
        rename_new(stage_fd, name, folder_fd, last)


def check_free(root: Root, path: bytes) -> None:
    """Raise AlreadyExists when something stands at `path`, PathTraversal when the way there leaves the volume."""
    folder, name = split(path)
    try:
        with opened_folder(root.fd, folder) as folder_fd:
            os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return
    raise AlreadyExists(f"File already exists at path: {shown(path)}")


def check_leads_nowhere_else(root: Root, path: bytes) -> None:
    """Raise PathTraversal when `path` is, or goes through, a symlink out of the volume; NotFound when it is missing."""
    folder, name = split(path)
    with described(path), opened_folder(root.fd, folder) as folder_fd:
        os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
        try:
            with opened(root.fd, path, os.O_PATH):
                return
        except FileNotFoundError:
            return  # a symlink to nothing


def _copy_entry(root: Root, from_fd: int, name: bytes, to_fd: int, new: bytes, depth: int) -> bool:
    """Copy one entry; False for what is neither file, folder nor symlink, or has just vanished."""
    status = os.stat(name, dir_fd=from_fd, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        link_in(root, to_fd, new, os.readlink(name, dir_fd=from_fd))
        return True
    if stat.S_ISDIR(status.st_mode):
        _copy_folder(root, from_fd, name, to_fd, new, depth)
        return True
    if stat.S_ISREG(status.st_mode):
        _copy_file(root, from_fd, name, to_fd, new)
        return True
    return False


def _copy_folder(root: Root, from_fd: int, name: bytes, to_fd: int, new: bytes, depth: int) -> None:
    if depth > DEEPEST_FOLDER:
        raise Invalid(f"Folders are nested more than {DEEPEST_FOLDER} deep here.")
    source_fd = open_beneath(from_fd, name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(source_fd)
        target_fd = make_in(root, to_fd, new, stat.S_IMODE(status.st_mode) & _PERMISSIONS)
        try:
            for inner in names_in(source_fd):
                _copy_if_there(root, source_fd, inner, target_fd, depth + 1)
            os.utime(target_fd, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(target_fd)
    finally:
        os.close(source_fd)


def _copy_if_there(root: Root, from_fd: int, name: bytes, to_fd: int, depth: int) -> None:
    try:
        _copy_entry(root, from_fd, name, to_fd, name, depth)
    except FileNotFoundError:
        return  # deleted by the container meanwhile: the copy shows the folder without it


def _copy_file(root: Root, from_fd: int, name: bytes, to_fd: int, new: bytes) -> None:
    with opened_file(from_fd, name, follow=False) as source_fd:
        status = os.fstat(source_fd)
        take_one(root.room)
        target_fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=to_fd)
        try:
            hand_over(target_fd, root.owner)
            copy_bytes(source_fd, target_fd, root.room)
            os.fchmod(target_fd, stat.S_IMODE(status.st_mode) & _PERMISSIONS)
            os.utime(target_fd, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(target_fd)


def copy_bytes(source_fd: int, target_fd: int, room: Room | None) -> None:
    """Copy a file's content between descriptors without reading it into memory; holes stay holes."""
    size = os.fstat(source_fd).st_size
    offset = 0
    while offset < size:
        start, end = _next_data(source_fd, offset, size)
        offset = start
        while offset < end:
            if room:
                room.take(min(end - offset, _COPIED_AT_ONCE_BYTES))
            count = os.copy_file_range(source_fd, target_fd, min(end - offset, _COPIED_AT_ONCE_BYTES), offset, offset)
            if count == 0:  # cut off meanwhile
                return
            offset += count
    os.ftruncate(target_fd, size)


def _next_data(fd: int, offset: int, size: int) -> tuple[int, int]:
    """Where the next bytes that are no hole begin and end, at most `size`."""
    try:
        start = os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size, size
    return min(start, size), min(os.lseek(fd, start, os.SEEK_HOLE), size)
