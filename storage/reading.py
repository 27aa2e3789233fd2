"""Reading a small text file, for editors."""

from __future__ import annotations

import os

from fleet.errors import Conflict
from storage.beneath import Root, opened_file
from storage.failures import described
from storage.paths import shown

LARGEST_TEXT_BYTES = 8 * 1024 * 1024


def read_text(root: Root, path: bytes) -> str:
    """The content of a UTF-8 file.

    Raises NotFound, PathTraversal, and Conflict for a folder, a special file, a binary or too large one.
    """
    with described(path), opened_file(root.fd, path) as fd:
        # One byte more than allowed tells a file that grew, or a pseudo-file that says its size is 0.
        content = read_at_most(fd, LARGEST_TEXT_BYTES + 1)
    if len(content) > LARGEST_TEXT_BYTES:
        limit = LARGEST_TEXT_BYTES // (1024 * 1024)
        raise Conflict(f"The file is larger than {limit} MB; download it instead: {shown(path)}", code="too_large")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _binary(path) from error
    if "\0" in text:
        raise _binary(path)
    return text


def read_at_most(fd: int, size_bytes: int) -> bytes:
    """The next bytes of a file, fewer than asked for only at its end."""
    parts = []
    while size_bytes > 0 and (part := os.read(fd, size_bytes)):
        parts.append(part)
        size_bytes -= len(part)
    return b"".join(parts)


def _binary(path: bytes) -> Conflict:
    return Conflict(f"The file is not text; download it instead: {shown(path)}", code="binary")
