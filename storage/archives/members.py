"""What an archive says about one of its members, and which names and kinds are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from fleet.errors import Invalid
from storage.walking import DEEPEST_FOLDER

_DRIVE = re.compile(rb"[A-Za-z]:[/\\]")
_LONGEST_NAME_BYTES = 255
_LONGEST_PATH_BYTES = 4095
_MOST_PARTS = DEEPEST_FOLDER + 1
_SETUID_OR_SETGID = 0o6000


class Kind(Enum):
    """What a member is. Nothing else comes out of an archive."""

    FILE = auto()
    FOLDER = auto()
    SYMLINK = auto()
    HARDLINK = auto()


@dataclass(frozen=True, slots=True)
class Member:
    """A member. `path` is relative and clean, empty for the destination itself; `target` is a link's."""

    path: bytes
    kind: Kind
    mode: int
    mtime: float
    size: int = 0
    target: bytes = b""


def member(name: bytes, kind: Kind, mode: int, mtime: float, size: int = 0, target: bytes = b"") -> Member:
    """A member with everything checked that can be checked without looking at others; raises Invalid."""
    if kind is Kind.FILE and mode & _SETUID_OR_SETGID:
        raise refused(f"it holds a setuid or setgid file: {_shown(name)}")
    if kind is Kind.HARDLINK:
        target = clean_name(target)
    if kind is Kind.SYMLINK and (not target or b"\0" in target or len(target) > 4095):
        raise refused(f"it holds a link that points nowhere: {_shown(name)}")
    if not -(2.0**63) <= mtime < 2.0**63:  # nor is it one that is no number
        raise refused(f"it holds a time that no clock can show: {_shown(name)}")
    if size < 0:
        raise refused(f"it says that a file has less than no bytes: {_shown(name)}")
    return Member(clean_name(name), kind, mode & 0o777, mtime, size, target)


def clean_name(name: bytes) -> bytes:
    """A member's name without `.` and doubled slashes; raises Invalid when it would leave the destination."""
    if looks_absolute(name) or b"\0" in name:
        raise refused(f"it holds an absolute or malformed path: {_shown(name)}")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if climbs(name):
        raise refused(f"it holds a path that leaves the destination: {_shown(name)}")
    if len(parts) > _MOST_PARTS or any(len(part) > _LONGEST_NAME_BYTES for part in parts):
        raise refused(f"it holds a path that is too deep or too long: {_shown(name)}")
    path = b"/".join(parts)
    if len(path) > _LONGEST_PATH_BYTES:
        raise refused(f"it holds a path that is too deep or too long: {_shown(name)}")
    return path


def looks_absolute(name: bytes) -> bool:
    """Whether a name begins as absolute ones do on some system."""
    return name.startswith((b"/", b"\\")) or _DRIVE.match(name) is not None


def climbs(name: bytes) -> bool:
    """Whether a name has `..` in it on some system."""
    return b".." in name.replace(b"\\", b"/").split(b"/")


def leads_out(path: bytes, target: bytes) -> bool:
    """Whether a symlink at `path` is absolute or climbs out of the tree, by its words alone."""
    depth = path.count(b"/")
    for part in target.split(b"/"):
        depth += {b"..": -1, b"": 0, b".": 0}.get(part, 1)
        if depth < 0:
            return True
    return target.startswith(b"/")


def refused(reason: str) -> Invalid:
    """The error for an archive that will not be unpacked, because `reason`."""
    return Invalid(f"The archive was refused: {reason}", code="unsafe_archive")


def _shown(name: bytes) -> str:
    return repr(name[:100].decode("utf-8", "replace"))
