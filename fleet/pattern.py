"""Regular expressions from clients: compiled and matched by RE2, in linear time."""

from __future__ import annotations

import re
from functools import lru_cache
from re import _parser  # type: ignore[attr-defined] # nothing public parses without compiling

import re2

from fleet.errors import PatternInvalid

MAX_LENGTH = 1000
_MEMORY_BYTES = 1 << 20
_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def check_pattern(pattern: str) -> None:
    """Raise PatternInvalid, with the position where it is known, unless `pattern` can be used."""
    compile_pattern(pattern)


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> re2._Regexp[bytes]:
    """The compiled pattern; it searches in bytes."""
    if len(pattern) > MAX_LENGTH:
        raise PatternInvalid(f"The pattern is longer than {MAX_LENGTH} characters.")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY_BYTES
    try:
        return re2.compile(pattern.encode(), options)
    except re2.error as error:
        raise PatternInvalid(f"The pattern is not valid{_position(pattern)}: {_reason(error)}.") from error


def plain_text(line: bytes) -> bytes:
    """A line of output without terminal escape sequences."""
    return _ESCAPES.sub(b"", line) if b"\x1b" in line else line


def _reason(error: Exception) -> str:
    text = error.args[0] if error.args else "it cannot be compiled"
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _position(pattern: str) -> str:
    """RE2 names no position; Python's parser often does. To compile for Python could take seconds."""
    try:
        _parser.parse(pattern)
    except re.error as error:
        return f" at position {error.pos}" if error.pos is not None else ""
    except (RecursionError, OverflowError):
        return ""
    return ""
