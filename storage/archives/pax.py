"""What of a pax header ("pax Extended Header" in POSIX.1-2008) `tarfile` gets to see.

Before Python 3.11.10 and 3.12.6 it takes hours for some headers of a few KB, and memory without end for others. So
records are told apart here, in one pass, and only those are left that say where content goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from storage.archives.streams import damaged

# Nothing else comes out of an archive: neither owners nor extended attributes.
_MEANT_FOR_US = re.compile(rb"path|linkpath|size|mtime|GNU\.sparse\.[a-z]{1,16}")
_SPARSE_MAP = b"GNU.sparse.map"
_OVERLONG_NUMBER = re.compile(rb"[0-9]{21}")
_LONGEST_VALUE_BYTES = 4096
_MOST_DIGITS = 10


def records_for_us(header: bytes) -> bytes:
    """A header without the records that do not matter here; raises Invalid where it is damaged."""
    return b"".join(record for keyword, record in _records(header) if _MEANT_FOR_US.fullmatch(keyword))


def _records(header: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each record, which reads `<its length in bytes> <keyword>=<value>\\n`, after its keyword."""
    at = 0
    while at < len(header):
        space = header.find(b" ", at, at + _MOST_DIGITS + 1)
        length = header[at : max(space, at)]
        end = at + int(length) if length.isdigit() else 0
        keyword, equals, value = header[space + 1 : end - 1].partition(b"=")
        if not space < end <= len(header) or not keyword or not equals or header[end - 1 : end] != b"\n":
            raise damaged()
        if _MEANT_FOR_US.fullmatch(keyword) and not _is_sane(keyword, value):
            raise damaged()
        yield keyword, header[at:end]
        at = end


def _is_sane(keyword: bytes, value: bytes) -> bool:
    """Whether no step over the value takes longer than it is long: a map of holes may be long, its numbers may not."""
    if keyword == _SPARSE_MAP:
        return _OVERLONG_NUMBER.search(value) is None
    return len(value) <= _LONGEST_VALUE_BYTES
