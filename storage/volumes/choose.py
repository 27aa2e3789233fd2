"""Which quota driver this host uses for new volumes."""

from __future__ import annotations

import logging
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from fleet.errors import Unavailable
from fleet.settings import Settings
from storage.volumes.directory import DirectoryDriver
from storage.volumes.disk import allocate, run
from storage.volumes.driver import MEBIBYTE, QuotaDriver
from storage.volumes.layout import has_images, probe_lock_path
from storage.volumes.locks import locked
from storage.volumes.loop import LoopDriver
from storage.volumes.mounts import is_mounted, mount_image, unmount

_PROBE_BYTES = MEBIBYTE
_PROBE = "probe-"
_log = logging.getLogger(__name__)


def driver_named(settings: Settings, name: str) -> QuotaDriver:
    """The driver that made a volume, by its name."""
    return LoopDriver(settings) if name == LoopDriver.name else DirectoryDriver(settings)


def chosen_driver_name(settings: Settings) -> str:
    """The driver for new volumes: as set, or for `auto` the loop driver where a trial mount works.

    A host that has image files stays with the loop driver: there, a mount that fails is a fault and no custom.
    """
    if settings.volume_driver != "auto":
        return settings.volume_driver
    if has_images(settings):
        return LoopDriver.name
    try:
        _check_loop_mounts(settings)
    except Unavailable as error:
        _log.warning("volumes are plain directories here, as long as images cannot be mounted: %s", error)
        return DirectoryDriver.name
    return LoopDriver.name


def sweep_probes(settings: Settings) -> None:
    """Remove trial mounts that a crash left."""
    with locked(probe_lock_path(settings)):
        for left in settings.run_folder.glob(f"{_PROBE}*"):
            unmount(left / "mount", detach=True)
            shutil.rmtree(left)


@lru_cache(maxsize=8)
def _check_loop_mounts(settings: Settings) -> None:
    """Try a mount; raises Unavailable. Only what worked is remembered: what failed may have been short of something."""
    with (
        locked(probe_lock_path(settings)),
        tempfile.TemporaryDirectory(prefix=_PROBE, dir=settings.run_folder) as name,
    ):
        image, folder = Path(name) / "image", Path(name) / "mount"
        folder.mkdir()
        allocate(image, _PROBE_BYTES, full=False)
        run("mkfs.ext4", "-q", "-F", image)
        mount_image(image, folder)
        if not is_mounted(folder):
            raise Unavailable("A trial mount left nothing mounted.")
        unmount(folder, detach=True)
