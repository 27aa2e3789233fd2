"""The volumes of this host: made, opened, measured, resized, deleted, and found again after a reboot or crash."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from fleet.errors import Conflict, LightdError, NotFound, Unavailable, invalid_field
from fleet.models import SMALLEST_VOLUME_MB
from fleet.settings import Settings
from storage.beneath import Root, opened_root
from storage.staging import sweep_staging
from storage.volumes.choose import chosen_driver_name, driver_named, sweep_probes
from storage.volumes.disk import full_disk_named
from storage.volumes.driver import QuotaDriver, Usage
from storage.volumes.layout import checked_id, lock_path, volume_path, volumes_folder
from storage.volumes.locks import is_locked, locked
from storage.volumes.meta import (
    VolumeMeta,
    begun_volumes,
    known_volumes,
    read_meta,
    remove_meta,
    remove_unwritten_meta,
    write_meta,
)

_log = logging.getLogger(__name__)


class Volumes:
    """All volumes under `settings.data`. Safe to use from many threads and processes at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._drivers: dict[str, QuotaDriver] = {}

    def create(self, volume_id: str, size_mb: int, *, until: float | None = None) -> VolumeMeta:
        """Make a volume, or return the one with this id; raises Conflict (`node_full`), Invalid for the size.

        After `until` (unix seconds) it is not begun any more, and raises Unavailable: who asked for it may be dead, and
        what was left of it removed.
        """
        self._check_size(size_mb)
        with self._alone(volume_id):
            meta = read_meta(self._settings, volume_id)
            if meta is not None and meta.ready:
                self._driver(meta).ensure_mounted(volume_id)
                return meta
            if until is not None and time.time() > until:
                lock_path(self._settings, volume_id).unlink(missing_ok=True)
                raise Unavailable("This host was asked too late to make the volume; create another.")
            if meta is not None:
                self._undo(meta)
            with full_disk_named():
                return self._make(volume_id, size_mb)

    def get(self, volume_id: str) -> VolumeMeta:
        """What the volume is; raises NotFound."""
        meta = read_meta(self._settings, checked_id(volume_id))
        if meta is None or not meta.ready:
            raise NotFound("Volume not found")
        return meta

    def all(self) -> list[VolumeMeta]:
        """All volumes that are ready."""
        metas = [read_meta(self._settings, volume_id) for volume_id in known_volumes(self._settings)]
        return [meta for meta in metas if meta is not None and meta.ready]

    def known(self) -> list[str]:
        """The ids of all volumes, also of those that are being made or deleted, or are damaged."""
        return list(known_volumes(self._settings))

    def is_held(self, volume_id: str) -> bool:
        """Whether somebody is at work on the volume itself, be it a command whose parent died. Takes no lock."""
        return is_locked(lock_path(self._settings, checked_id(volume_id)))

    def delete(self, volume_id: str) -> None:
        """Delete a volume with all its files; fine when there is none."""
        with self._alone(volume_id):
            meta = read_meta(self._settings, volume_id)
            if meta is not None:
                self._undo(meta)
            lock_path(self._settings, volume_id).unlink(missing_ok=True)

    def ensure_mounted(self, volume_id: str) -> Path:
        """The volume's folder, mounted; raises NotFound, Unavailable."""
        return self._mounted(self.get(volume_id))

    def is_mounted(self, volume_id: str) -> bool:
        """Whether the volume's folder can be used right now; raises NotFound."""
        return self._driver(self.get(volume_id)).is_mounted(volume_id)

    @contextmanager
    def opened(self, volume_id: str) -> Iterator[Root]:
        """Hold a volume open for work on its files; raises NotFound."""
        meta = self.get(volume_id)
        self._mounted(meta)
        with ExitStack() as held:
            root = held.enter_context(self._opened(meta))
            if not self._driver(meta).holds(volume_id, root.fd):  # unmounted in between, by a resize
                held.close()
                with self._alone(volume_id):
                    root = held.enter_context(self._opened_mounted(volume_id))
            yield root

    @contextmanager
    def opened_alone(self, volume_id: str) -> Iterator[Root]:
        """Like `opened`, holding the volume's lock: for archives, which resizing and deleting must wait for."""
        with self._alone(volume_id), self._opened_mounted(volume_id) as root:
            yield root

    def usage(self, volume_id: str) -> Usage:
        """How full the volume is; raises NotFound."""
        meta = self.get(volume_id)
        self._mounted(meta)
        return self._driver(meta).usage(volume_id, meta.size_mb)

    def resize(self, volume_id: str, size_mb: int) -> Usage:
        """Change a volume's size; raises Conflict when its content does not fit or it is in use and would shrink."""
        self._check_size(size_mb)
        with self._alone(volume_id):
            meta = self._settled(self.get(volume_id))
            driver = self._driver(meta)
            with full_disk_named():
                driver.resize(volume_id, meta.size_mb, size_mb)
                write_meta(self._settings, replace(meta, size_mb=size_mb))
            return driver.usage(volume_id, size_mb)

    def restore_all(self) -> None:
        """After a start: finish what a crash interrupted, mount what is not mounted; problems are logged.

        Never waits: a volume that somebody holds is in good hands, and is mounted when it is first used.
        """
        sweep_probes(self._settings)
        for volume_id in begun_volumes(self._settings):
            try:
                self._restore(volume_id)
            except Conflict:
                _log.info("volume %s is being worked on", volume_id)
            except (LightdError, OSError) as error:
                _log.error("volume %s cannot be used: %s", volume_id, error)

    def sweep_all(self) -> None:
        """Remove what killed processes were putting together in the volumes, or taking apart; problems are logged.

        Takes as long as containers have files to put in the way: nothing should wait for it.
        """
        for volume_id in self.known():
            try:
                with self.opened(volume_id) as root:
                    sweep_staging(root)
            except (LightdError, OSError) as error:
                _log.warning("volume %s could not be swept: %s", volume_id, error)

    def _check_size(self, size_mb: int) -> None:
        largest_mb = self._settings.volume_max_mb
        if not SMALLEST_VOLUME_MB <= size_mb <= largest_mb:
            raise invalid_field("size", f"Must be from {SMALLEST_VOLUME_MB} to {largest_mb}.")

    def _restore(self, volume_id: str) -> None:
        with locked(lock_path(self._settings, checked_id(volume_id)), timeout_seconds=0):
            remove_unwritten_meta(self._settings, volume_id)
            meta = read_meta(self._settings, volume_id)
            if meta is not None and not meta.ready:
                self._undo(meta)
                meta = None
            if meta is None:
                lock_path(self._settings, volume_id).unlink(missing_ok=True)
                return
            self._settled(meta)

    def _settled(self, meta: VolumeMeta) -> VolumeMeta:
        """The volume, mounted and with the size that it has after an interrupted resize. Needs the lock."""
        driver = self._driver(meta)
        driver.ensure_mounted(meta.volume_id)
        size_mb = driver.settle(meta.volume_id, meta.size_mb)
        if size_mb == meta.size_mb:
            return meta
        _log.warning("volume %s was being resized: it has %d MB now", meta.volume_id, size_mb)
        settled = replace(meta, size_mb=size_mb)
        write_meta(self._settings, settled)
        return settled

    def _make(self, volume_id: str, size_mb: int) -> VolumeMeta:
        folder = volumes_folder(self._settings)
        folder.mkdir(parents=True, exist_ok=True)
        name = chosen_driver_name(self._settings)
        meta = VolumeMeta(volume_id, size_mb, name, int(time.time()), self._settings.node, ready=False)
        write_meta(self._settings, meta)
        try:
            self._driver(meta).create(volume_id, size_mb)
        except BaseException:
            self._undo(meta)
            raise
        made = replace(meta, ready=True)
        write_meta(self._settings, made)
        return made

    def _undo(self, meta: VolumeMeta) -> None:
        if meta.ready:
            write_meta(self._settings, replace(meta, ready=False))
        self._driver(meta).delete(meta.volume_id)
        remove_meta(self._settings, meta.volume_id)

    def _mounted(self, meta: VolumeMeta) -> Path:
        if self._driver(meta).is_mounted(meta.volume_id):
            return volume_path(self._settings, meta.volume_id)
        with self._alone(meta.volume_id):
            return self._driver(self.get(meta.volume_id)).ensure_mounted(meta.volume_id)

    def _opened_mounted(self, volume_id: str) -> AbstractContextManager[Root]:
        """Mount the volume where it is not, and open it. Needs the lock."""
        meta = self.get(volume_id)
        self._driver(meta).ensure_mounted(volume_id)
        return self._opened(meta)

    def _opened(self, meta: VolumeMeta) -> AbstractContextManager[Root]:
        room = self._driver(meta).room(meta.volume_id, meta.size_mb)
        return opened_root(volume_path(self._settings, meta.volume_id), self._settings.owner, room)

    def _driver(self, meta: VolumeMeta) -> QuotaDriver:
        if meta.driver not in self._drivers:
            self._drivers[meta.driver] = driver_named(self._settings, meta.driver)
        return self._drivers[meta.driver]

    @contextmanager
    def _alone(self, volume_id: str) -> Iterator[None]:
        with locked(lock_path(self._settings, checked_id(volume_id))):
            yield
