"""A client's `path` text, checked and turned into the bytes that name a file on disk.

Names are bytes. Those that are not UTF-8 appear in JSON as lone surrogates (PEP 383), and come back the same way.
The check here is for clear answers; that nothing leaves a volume is up to `storage.beneath`.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from fleet.errors import PathTraversal

ROOT = b"."
_LONGEST_PATH_BYTES = 4095
_LONGEST_NAME_BYTES = 255
_DRIVE = re.compile(rb"[A-Za-z]:")
_SEPARATORS = re.compile(rb"[/\\]")
# Somebody may have encoded a path more than once on its way here.
_DECODINGS = 3


def checked_path(text: object) -> bytes:
    """The relative path that `text` spells, without `.` and doubled slashes; raises PathTraversal."""
    path = _normal(text)
    if path == ROOT:
        raise PathTraversal
    return path


def checked_folder(text: object) -> bytes:
    """Like `checked_path`, but nothing, `""` and `"."` mean the volume's root."""
    return ROOT if text is None or text == "" else _normal(text)


def shown(path: bytes) -> str:
    """A path or name as text for JSON."""
    return path.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    """The inverse of `shown`; raises PathTraversal for text that no name on disk can have."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise PathTraversal from error


def _normal(text: object) -> bytes:
    if not isinstance(text, str) or not text:
        raise PathTraversal
    path = encoded(text)
    if len(path) > _LONGEST_PATH_BYTES:
        raise PathTraversal
    for spelling in _spellings(path):
        _refuse_escape(spelling)
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    if any(len(name) > _LONGEST_NAME_BYTES for name in names):
        raise PathTraversal
    return b"/".join(names) or ROOT


def _spellings(path: bytes) -> list[bytes]:
    """The path, and what it would be after further percent-decoding."""
    spellings = [path]
    for _ in range(_DECODINGS):
        decoded = unquote_to_bytes(spellings[-1])
        if decoded == spellings[-1]:
            break
        spellings.append(decoded)
    return spellings


def _refuse_escape(path: bytes) -> None:
    names = _SEPARATORS.split(path)
    if b"\0" in path or names[0] == b"" or _DRIVE.match(path) or b".." in names:
        raise PathTraversal
