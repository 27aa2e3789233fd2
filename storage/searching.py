"""Finding files by name."""

from __future__ import annotations

import fnmatch
import re
import stat
import time
from typing import NamedTuple

from fleet.errors import invalid_field
from storage.beneath import Root, opened_folder
from storage.failures import described
from storage.paths import ROOT, shown
from storage.walking import Found, walk

_LONGEST_PATTERN = 255
_LONGEST_SEARCH_SECONDS = 20.0


class Hit(NamedTuple):
    """A path from the volume's root that matched; `size` in bytes, 0 for a directory."""

    path: str
    type: str
    size: int


def search(root: Root, path: bytes, pattern: str, limit: int) -> tuple[list[Hit], bool]:
    """Up to `limit` things below `path` whose name matches a shell pattern, and whether there may be more.

    A pattern with a `/` is matched against the path from `path` on. It is matched by characters, a byte that is not
    UTF-8 being one. Raises Invalid for a pattern that is empty, overlong or makes no sense, NotFound, PathTraversal.
    """
    matches = _compiled(pattern)
    whole = "/" in pattern
    prefix = b"" if path == ROOT else path + b"/"
    deadline = time.monotonic() + _LONGEST_SEARCH_SECONDS
    hits: list[Hit] = []
    with described(path), opened_folder(root.fd, path) as folder_fd:
        for found in walk(folder_fd):
            if matches.match(shown(found.path if whole else found.name)):
                if len(hits) == limit:
                    return hits, True
                hits.append(_hit(prefix, found))
            if time.monotonic() > deadline:
                return hits, True
    return hits, False


def _compiled(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression. `fnmatch` never goes back behind a `*` once what follows it was found."""
    if not pattern or len(pattern) > _LONGEST_PATTERN:
        raise invalid_field("pattern", "Must have 1 to 255 characters.")
    try:
        return re.compile(fnmatch.translate(pattern))
    except re.error as error:
        raise invalid_field("pattern", f"Not a valid pattern: {error.msg}.") from error


def _hit(prefix: bytes, found: Found) -> Hit:
    mode = found.status.st_mode
    if stat.S_ISDIR(mode):
        return Hit(shown(prefix + found.path), "directory", 0)
    kind = "symlink" if stat.S_ISLNK(mode) else "file"
    return Hit(shown(prefix + found.path), kind, found.status.st_size)
