"""A path as a client writes it: relative to a volume, `/`-separated, refused early when it obviously leaves.

Names are bytes. Those that are not UTF-8 appear in JSON as lone surrogates (PEP 383), and come back the same way.
That nothing really leaves a volume is up to `storage.beneath`.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from fleet.errors import PathTraversal

_LONGEST_PATH_BYTES = 4095
_DRIVE = re.compile(rb"[A-Za-z]:")
_SEPARATORS = re.compile(rb"[/\\]")
# Somebody may have encoded a path more than once on its way here.
_DECODINGS = 3


def path_bytes(text: object) -> bytes:
    """The bytes that `text` spells.

    Raises PathTraversal when it is no text, empty, absolute, too long, starts with a drive letter, or has `..` or NUL.
    """
    if not isinstance(text, str) or not text:
        raise PathTraversal
    path = encoded(text)
    if len(path) > _LONGEST_PATH_BYTES:
        raise PathTraversal
    for spelling in _spellings(path):
        _refuse_escape(spelling)
    return path


def encoded(text: str) -> bytes:
    """Text as the bytes of a name on disk; raises PathTraversal for text that no name can have."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise PathTraversal from error


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
