"""A client's `path` text, checked and turned into the bytes that name a file on disk.

The rule for the text is `fleet.paths`, which the API applies as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleet.errors import PathTraversal
from fleet.paths import encoded, path_bytes

__all__ = ["ROOT", "checked_folder", "checked_path", "encoded", "outermost", "shown"]

ROOT = b"."
_LONGEST_NAME_BYTES = 255


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


def outermost(paths: Sequence[bytes]) -> list[bytes]:
    """The paths by name, without repetitions and without those that lie in another one of them."""
    chosen: list[bytes] = []
    for path in sorted(set(paths), key=lambda path: path.split(b"/")):  # what lies in a folder comes right after it
        if not chosen or not path.startswith(chosen[-1] + b"/"):
            chosen.append(path)
    return chosen


def _normal(text: object) -> bytes:
    names = [name for name in path_bytes(text).split(b"/") if name not in (b"", b".")]
    if any(len(name) > _LONGEST_NAME_BYTES for name in names):
        raise PathTraversal
    return b"/".join(names) or ROOT
