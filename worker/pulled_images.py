"""Which images of this host Lightd itself pulled: a small file each, whose time is that of the last known use.

Both the names under which they were pulled are noted and their ids: a name may mean another image by now. What was
there before, or came some other way, has no file and is nobody's to remove.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from fleet.images import full_name, is_image_id
from fleet.settings import Settings


class PulledImages:
    """The files, under `LIGHTD_DATA`. Safe to use from several processes."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.data / "pulled-images"

    def note(self, image: str) -> None:
        """Note an image that was just pulled and was not there before, by name or id."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file(image).write_text(_noted(image) + "\n")

    def used(self, image: str) -> None:
        """Note that an image is in use now, if it is among them."""
        if self._file(image).exists():
            os.utime(self._file(image))

    def idle_seconds(self) -> dict[str, float]:
        """The full name or id of each, and how long ago it was in use for all that is known."""
        now = time.time()
        files = sorted(self._folder.glob("*.image"))
        return {file.read_text().strip(): now - file.stat().st_mtime for file in files}

    def forget(self, image: str) -> None:
        """It is no longer there."""
        self._file(image).unlink(missing_ok=True)

    def _file(self, image: str) -> Path:
        return self._folder / f"{hashlib.sha256(_noted(image).encode()).hexdigest()[:32]}.image"


def _noted(image: str) -> str:
    return image if is_image_id(image) else full_name(image)
