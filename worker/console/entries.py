"""Entries of the engine's `json-file` logs.

One JSON object a line: `log` (text with its newline; a line over 16,384 bytes comes in parts, only the
last one with a newline), `stream`, and as the last member `time`. Invalid UTF-8 is U+FFFD already.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """One line of output, or a part of a long one, and when the engine read its beginning."""

    stamp: str
    data: bytes


def read_entries(block: bytes) -> list[Entry]:
    """The entries in `block`, which consists of whole log lines. What a crash garbled is left out."""
    try:
        documents = json.loads(b"[%s]" % block.rstrip(b"\n").replace(b"\n", b","))
        return [_entry(document) for document in documents]
    except (ValueError, KeyError, TypeError, AttributeError):
        return _read_one_by_one(block)


def stamp_in_file(stamp: str) -> bytes:
    """What ends a log line with this stamp. A container cannot print it: quotes inside its text are escaped."""
    return b'"time":"%s"}' % stamp.encode()


def _entry(document: dict[str, Any]) -> Entry:
    return Entry(document["time"], document.get("log", "").encode("utf-8", "replace"))


def _read_one_by_one(block: bytes) -> list[Entry]:
    found = []
    for line in block.split(b"\n"):
        try:
            found.append(_entry(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found
