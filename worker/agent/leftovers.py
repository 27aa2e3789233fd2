"""Volumes whose making or deletion died half-way."""

from __future__ import annotations

import structlog

from fleet.errors import Conflict, NotFound
from fleet.repositories.volumes import VolumeRepository
from storage.volumes import Volumes
from worker.known_store import KnownStore

_UNFINISHED_SECONDS = 60.0

log = structlog.get_logger()


class Leftovers:
    """Removes what is left of volumes that are not finished a minute after they were begun."""

    def __init__(self, node: str, records: VolumeRepository, volumes: Volumes, store: KnownStore) -> None:
        self._node = node
        self._records = records
        self._volumes = volumes
        self._store = store

    def remove(self) -> None:
        """Remove them now; one that somebody is working on after all is left alone."""
        unfinished = self._records.unfinished(self._node, _UNFINISHED_SECONDS)
        if not unfinished or not self._store.is_known():
            return
        for volume in unfinished:
            log.warning("removing what is left of a volume", volume=volume.volume_id, was=volume.state)
            try:
                self._volumes.delete(volume.volume_id)
                self._records.forget(volume.volume_id)
            except (Conflict, NotFound) as error:
                log.warning("a volume is left as it is", volume=volume.volume_id, reason=error.message)
