"""Volumes whose making or deletion died half-way."""

from __future__ import annotations

import structlog

from fleet.errors import LightdError
from fleet.models import Volume
from fleet.repositories.volumes import BEGIN_SECONDS, VolumeRepository
from storage.volumes import Volumes
from worker.known_store import KnownStore

log = structlog.get_logger()


class Leftovers:
    """Removes what is left of volumes that were begun some time ago, are not finished, and that nobody is at work on.

    While a volume is made or deleted its file lock is held; one whose making has not begun in time never will. So only
    who holds no lock any more and has not told the record yet can be overtaken: that one is told so by the record.
    """

    def __init__(self, node: str, records: VolumeRepository, volumes: Volumes, store: KnownStore) -> None:
        self._node = node
        self._records = records
        self._volumes = volumes
        self._store = store
        self._kept: dict[str, str] = {}

    def remove(self) -> None:
        """Remove them now; what cannot be removed is logged once and tried again."""
        unfinished = self._records.unfinished(self._node, BEGIN_SECONDS)
        if not unfinished or not self._store.is_known():
            return
        for volume in unfinished:
            try:
                self._remove(volume)
                self._kept.pop(volume.volume_id, None)
            except LightdError as error:
                self._complain(volume.volume_id, error.message)

    def _remove(self, volume: Volume) -> None:
        if self._volumes.is_held(volume.volume_id) or not self._records.mark_removing(volume.volume_id):
            return
        if volume.volume_id not in self._kept:
            log.warning("removing what is left of a volume", volume=volume.volume_id, was=volume.state)
        self._volumes.delete(volume.volume_id)
        self._records.forget(volume.volume_id)

    def _complain(self, volume_id: str, reason: str) -> None:
        if self._kept.get(volume_id) != reason:
            self._kept[volume_id] = reason
            log.warning("a volume is left as it is", volume=volume_id, reason=reason)
