"""Sending a file: what to open, and which part of it was asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import stat_result
from urllib.parse import quote

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_PLAIN_NAME = re.compile(r"[^A-Za-z0-9._ -]")


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes `start` to `start + length - 1` of a file of `size` bytes; `partial` when only a part was asked for."""

    start: int
    length: int
    size: int
    partial: bool

    @property
    def content_range(self) -> str:
        """The value of the Content-Range header (RFC 9110, section 14.4)."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.size}"


def part_of(size: int, header: str | None) -> Part | None:
    """The part that a Range header asks for, the whole file without one; None when there is no such part.

    What the header says in any other way than one range of bytes is ignored, as RFC 9110 allows.
    """
    match = _RANGE.fullmatch(header.strip()) if header and len(header) < 64 else None
    if match is None or match.group(1) == match.group(2) == "":
        return Part(0, size, size, partial=False)
    first, last = match.groups()
    if first == "":
        start, end = max(size - int(last), 0), size - 1
    else:
        start, end = int(first), min(int(last) if last else size - 1, size - 1)
        if last and int(last) < start:
            return Part(0, size, size, partial=False)
    if start > end:
        return None
    return Part(start, end - start + 1, size, partial=True)


def entity_tag(status: stat_result) -> str:
    """A tag that changes whenever the file's content does: the inode's time of change is one that no program sets."""
    return f'"{status.st_ino:x}-{status.st_ctime_ns:x}-{status.st_size:x}"'


def disposition(name: bytes) -> str:
    """The Content-Disposition header that saves a download under `name`, whatever bytes that is made of (RFC 6266)."""
    text = name.decode("utf-8", "replace")
    plain = _PLAIN_NAME.sub("_", text)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(text, safe='')}"
