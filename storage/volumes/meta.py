"""The file beside each volume that says what it is, so that an emptied store can be rebuilt from the host."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from fleet.errors import Unavailable
from fleet.settings import Settings
from storage.volumes.layout import locked_volumes, meta_path, volumes_folder

_UNWRITTEN = ".new"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VolumeMeta:
    """What a volume is. `ready` is false while it is being made or deleted; such a one holds nobody's data."""

    volume_id: str
    size_mb: int
    driver: str
    created_at: int
    node: str
    ready: bool


def read_meta(settings: Settings, volume_id: str) -> VolumeMeta | None:
    """A volume's file, or None when there is none; raises Unavailable when it cannot be understood."""
    path = meta_path(settings, volume_id)
    try:
        return VolumeMeta(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        _log.error("the description of volume %s, %s, is damaged: %s", volume_id, path, error)
        raise Unavailable(f"What this host wrote down about volume {volume_id} is damaged; restore it.") from error


def write_meta(settings: Settings, meta: VolumeMeta) -> None:
    """Replace a volume's file at once, and make sure it is on disk.

    On a full disk, where a volume must still be deletable, an existing file is changed in place: it has its block.
    """
    path = meta_path(settings, meta.volume_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(_UNWRITTEN)
    text = json.dumps(asdict(meta), indent=1)
    try:
        with fresh.open("w") as file:
            _write_through(file, text)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        if error.errno != errno.ENOSPC or not path.exists():
            raise
        with path.open("r+") as file:
            _write_through(file, text)
    _sync_folder(path.parent)


def remove_meta(settings: Settings, volume_id: str) -> None:
    """Forget a volume; fine when it is forgotten already."""
    remove_unwritten_meta(settings, volume_id)
    meta_path(settings, volume_id).unlink(missing_ok=True)


def remove_unwritten_meta(settings: Settings, volume_id: str) -> None:
    """Remove what a crash left of a file that was being replaced."""
    meta_path(settings, volume_id).with_suffix(_UNWRITTEN).unlink(missing_ok=True)


def known_volumes(settings: Settings) -> Iterator[str]:
    """The ids of all volumes that have a file."""
    for path in sorted((volumes_folder(settings) / ".meta").glob("*.json")):
        yield path.stem


def begun_volumes(settings: Settings) -> list[str]:
    """The ids of all volumes that have a file, one that was being written, or a lock: also what a crash left of one."""
    metas = (volumes_folder(settings) / ".meta").glob("*")
    return sorted({path.stem for path in metas} | set(locked_volumes(settings)))


def _write_through(file: TextIO, text: str) -> None:
    file.write(text)
    file.truncate()
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
