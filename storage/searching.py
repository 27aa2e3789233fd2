"""Finding files by name."""

from __future__ import annotations

import fnmatch
import re
import stat
import time
from typing import NamedTuple

from fleet.errors import Invalid
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

    A pattern with a `/` is matched against the path from `path` on. Raises Invalid for an empty or overlong
    pattern, NotFound, PathTraversal.
    """
    if not pattern or len(pattern) > _LONGEST_PATTERN:
        raise Invalid("The request is not valid.", fields={"pattern": ["Must have 1 to 255 characters."]})
    try:
        matches = re.compile(fnmatch.translate(pattern).encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise Invalid("The request is not valid.", fields={"pattern": ["Not valid text."]}) from error
    whole = "/" in pattern
    prefix = b"" if path == ROOT else path + b"/"
    deadline = time.monotonic() + _LONGEST_SEARCH_SECONDS
    hits: list[Hit] = []
    with described(path), opened_folder(root.fd, path) as folder_fd:
        for found in walk(folder_fd):
            if matches.match(found.path if whole else found.name):
                if len(hits) == limit:
                    return hits, True
                hits.append(_hit(prefix, found))
            if time.monotonic() > deadline:
                return hits, True
    return hits, False


def _hit(prefix: bytes, found: Found) -> Hit:
    mode = found.status.st_mode
    if stat.S_ISDIR(mode):
        return Hit(shown(prefix + found.path), "directory", 0)
    kind = "symlink" if stat.S_ISLNK(mode) else "file"
    return Hit(shown(prefix + found.path), kind, found.status.st_size)
