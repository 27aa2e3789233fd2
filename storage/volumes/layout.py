"""Where a volume's pieces lie under `settings.data`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fleet.errors import NotFound
from fleet.settings import Settings

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_VOLUME_ID = re.compile(_UUID)
_PATH = re.compile(rf"(?<![\w.])/(?:[^\s'\",;]*?/(?:volume-)?({_UUID})[^\s'\",:;]*|[^\s'\",:;]+)")


def checked_id(volume_id: str) -> str:
    """The id if it is a UUID in lower case; raises NotFound, because nothing else names a volume."""
    if not _VOLUME_ID.fullmatch(volume_id):
        raise NotFound("Volume not found")
    return volume_id


def without_paths(words: str) -> str:
    """A command's words for people who have nothing to do with this host's paths: those of a volume become its name."""
    return _PATH.sub(lambda path: f"volume {path[1]}" if path[1] else "a path of this host", words)


def volumes_folder(settings: Settings) -> Path:
    """The folder that holds all volumes of this host."""
    return settings.data / "volumes"


def volume_path(settings: Settings, volume_id: str) -> Path:
    """The folder of a volume, as seen by this host and its engine."""
    return volumes_folder(settings) / checked_id(volume_id)


def image_path(settings: Settings, volume_id: str) -> Path:
    """The file that holds a loop-mounted volume."""
    return _images_folder(settings) / f"{checked_id(volume_id)}.img"


def has_images(settings: Settings) -> bool:
    """Whether this host holds loop-mounted volumes."""
    return any(_images_folder(settings).glob("*.img"))


def resizing_path(settings: Settings, volume_id: str) -> Path:
    """Says, while it exists, that the image and its file system may have different sizes."""
    return image_path(settings, volume_id).with_suffix(".resizing")


def meta_path(settings: Settings, volume_id: str) -> Path:
    """The file that tells what this volume is, for recovery."""
    return volumes_folder(settings) / ".meta" / f"{checked_id(volume_id)}.json"


def lock_path(settings: Settings, volume_id: str) -> Path:
    """The file whose lock makes one process alone work on the volume itself."""
    return _locks_folder(settings) / f"volume-{checked_id(volume_id)}.lock"


def locked_volumes(settings: Settings) -> Iterator[str]:
    """The ids of all volumes that have a lock file."""
    for path in _locks_folder(settings).glob("volume-*.lock"):
        volume_id = path.stem.removeprefix("volume-")
        if _VOLUME_ID.fullmatch(volume_id):
            yield volume_id


def probe_lock_path(settings: Settings) -> Path:
    """The file whose lock keeps a trial mount from being swept."""
    return _locks_folder(settings) / "probe.lock"


def _images_folder(settings: Settings) -> Path:
    return volumes_folder(settings) / ".images"


def _locks_folder(settings: Settings) -> Path:
    return settings.run_folder / "locks"
