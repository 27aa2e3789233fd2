"""Building an archive's tree in a staging folder. Links are made last, when nothing can be written through them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fleet.errors import PathTraversal
from storage.archives.allowance import Allowance
from storage.archives.members import Kind, Member, leads_out, refused
from storage.beneath import Root, open_beneath, opened, split
from storage.draft import folder_mode, hand_over
from storage.folders import link_in, make_in
from storage.paths import ROOT
from storage.room import take_one

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HOLE_BYTES = 64 * 1024
_ZEROS = bytes(1024 * 1024)


class Extraction:
    """Takes members in the archive's order and makes them below `tree_fd`; `finish` makes the links.

    `tell` is called with every member and every piece of content; it may raise to cancel.
    """

    def __init__(self, root: Root, tree_fd: int, allowance: Allowance, tell: Callable[[], None]) -> None:
        self._root = root
        self._tell = tell
        self._tree_fd = tree_fd
        self.allowance = allowance
        self.files = 0
        self._links: list[Member] = []
        self._folders: dict[bytes, Member] = {}
        self._parent: tuple[bytes, int] = (ROOT, os.dup(tree_fd))

    def close(self) -> None:
        """Let go of the folder last worked in."""
        os.close(self._parent[1])

    def add_folder(self, member: Member) -> None:
        """Make a folder; one that exists already is fine."""
        self._take_entry()
        if member.path:
            self.allowance.remember(len(member.path))
            self._enter(member.path, b"")
            self._folders[member.path] = member

    def add_link(self, member: Member) -> None:
        """Remember a symlink or hard link for the end."""
        self._take_entry()
        self.allowance.remember(len(member.path) + len(member.target))
        self._links.append(member)

    @contextmanager
    def new_file(self, member: Member) -> Iterator[FileExtraction]:
        """Make a file and hold it open for its content; raises Invalid for a second one of the same name."""
        self._take_entry()
        folder, name = split(member.path)
        if not name:
            raise refused("it holds a file in place of the destination")
        folder_fd = self._enter(folder, member.path)
        take_one(self._root.room)
        try:
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=folder_fd)
        except (FileExistsError, IsADirectoryError) as error:
            raise refused(f"it holds the same path twice: {_shown(member)}") from error
        try:
            hand_over(fd, self._root.owner)
            file = FileExtraction(fd, self._root, self.allowance, self._tell)
            yield file
            self.allowance.take_bytes(member.size - file.size_bytes, stored=False)
            os.ftruncate(fd, member.size)
            os.fchmod(fd, member.mode)
            os.utime(fd, (member.mtime, member.mtime))
        finally:
            os.close(fd)
        self.files += 1

    def finish(self) -> None:
        """Make the links, see that none leads out, and set the folders' permissions and times."""
        for link in self._links:
            self._tell()
            self._make_link(link)
        for link in self._links:
            self._tell()
            if link.kind is Kind.SYMLINK:
                self._check_link(link)
        for path in sorted(self._folders, reverse=True):
            folder = self._folders[path]
            with opened(self._tree_fd, path, _FOLDER) as fd:
                os.fchmod(fd, folder_mode(folder.mode))
                os.utime(fd, (folder.mtime, folder.mtime))

    def pass_over(self, size_bytes: int) -> None:
        """Count what was read of the archive and is nobody's content; raises Invalid for a bomb."""
        self.allowance.pass_over(size_bytes)
        self._tell()

    def _take_entry(self) -> None:
        self.allowance.take_entry()
        self._tell()

    def _enter(self, folder: bytes, wanted: bytes) -> int:
        """The open folder at `folder`, made with its parents; kept open, since the next member is often there too."""
        if folder != self._parent[0]:
            fd = self._make_folders(folder, wanted or folder)
            os.close(self._parent[1])
            self._parent = (folder, fd)
        return self._parent[1]

    def _make_folders(self, folder: bytes, wanted: bytes) -> int:
        try:
            return open_beneath(self._tree_fd, folder, _FOLDER)
        except FileNotFoundError:
            above, name = split(folder)
        except (NotADirectoryError, PathTraversal) as error:
            raise refused(f"it holds a file or link where a folder should be: {wanted[:100]!r}") from error
        above_fd = os.dup(self._tree_fd) if above == ROOT else self._make_folders(above, wanted)
        try:
            self.allowance.take_folder()
            return make_in(self._root, above_fd, name)
        finally:
            os.close(above_fd)

    def _make_link(self, link: Member) -> None:
        folder, name = split(link.path)
        if not name:
            raise refused("it holds a link in place of the destination")
        try:
            folder_fd = self._enter_real(folder, link)
            if link.kind is Kind.SYMLINK:
                link_in(self._root, folder_fd, name, link.target)
            else:
                self._make_hard_link(link, folder_fd, name)
        except FileExistsError as error:
            raise refused(f"it holds the same path twice: {_shown(link)}") from error

    def _enter_real(self, folder: bytes, link: Member) -> int:
        """The folder a link stands in, through no other link."""
        path = b""
        for part in folder.split(b"/") if folder != ROOT else []:
            path = path + b"/" + part if path else part
            above, name = split(path)
            with opened(self._tree_fd, above, os.O_PATH | os.O_DIRECTORY) as above_fd:
                try:
                    mode = os.stat(name, dir_fd=above_fd, follow_symlinks=False).st_mode
                except FileNotFoundError:
                    break
            if stat.S_ISLNK(mode):
                raise refused(f"it holds something inside a link: {_shown(link)}")
        return self._enter(folder, link.path)

    def _make_hard_link(self, link: Member, folder_fd: int, name: bytes) -> None:
        target_folder, target_name = split(link.target)
        try:
            with opened(self._tree_fd, target_folder, os.O_PATH | os.O_DIRECTORY) as target_fd:
                if stat.S_ISLNK(os.stat(target_name, dir_fd=target_fd, follow_symlinks=False).st_mode):
                    raise refused(f"it holds a hard link to a link: {_shown(link)}")
                os.link(target_name, name, src_dir_fd=target_fd, dst_dir_fd=folder_fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError, PermissionError, PathTraversal) as error:
            raise refused(f"it holds a hard link to nothing in it: {_shown(link)}") from error
        self.files += 1

    def _check_link(self, link: Member) -> None:
        """Raise Invalid when a symlink is absolute or leads out, by its words or through other links."""
        if leads_out(link.path, link.target):
            raise refused(f"it holds a link that points out of it: {_shown(link)}")
        try:
            with opened(self._tree_fd, link.path, os.O_PATH):
                return
        except PathTraversal as error:
            raise refused(f"it holds a link that leads out of it or in circles: {_shown(link)}") from error
        except (FileNotFoundError, NotADirectoryError):
            return  # points to nothing, inside


class FileExtraction:
    """One file being filled. Long runs of zeros become holes."""

    def __init__(self, fd: int, root: Root, allowance: Allowance, tell: Callable[[], None]) -> None:
        self._fd = fd
        self._tell = tell
        self._room = root.room
        self._allowance = allowance
        self.size_bytes = 0

    def write_at(self, offset: int, data: bytes) -> None:
        """Put content where it belongs; raises Invalid for a bomb, QuotaExceeded, OSError (ENOSPC)."""
        self._tell()
        self.size_bytes += len(data)
        hole = len(data) >= _HOLE_BYTES and data == _ZEROS[: len(data)]
        self._allowance.take_bytes(len(data), stored=not hole)
        if hole:
            return
        if self._room:
            self._room.take(len(data))
        view = memoryview(data)
        while view:
            count = os.pwrite(self._fd, view, offset)
            view, offset = view[count:], offset + count


def _shown(member: Member) -> str:
    return repr(member.path[:100].decode("utf-8", "replace"))
