"""The volumes of this host as they should be: mounted, and their record as large as they are."""

from __future__ import annotations

import structlog

from fleet.errors import LightdError, NotFound
from fleet.models import Volume
from fleet.repositories.volumes import VolumeRepository
from storage.volumes import Volumes
from worker.known_store import KnownStore

UPKEEP_SECONDS = 30.0

log = structlog.get_logger()


class Upkeep:
    """Mounts what is not mounted, and tells the record of a resize whose answer never reached the API."""

    def __init__(self, node: str, records: VolumeRepository, volumes: Volumes, store: KnownStore) -> None:
        self._node = node
        self._records = records
        self._volumes = volumes
        self._store = store
        self._broken: dict[str, str] = {}

    def look(self) -> None:
        """Look at every volume of this host; one that cannot be mended is logged once."""
        for volume_id in self._volumes.known():
            try:
                self._volumes.ensure_mounted(volume_id)
                self._broken.pop(volume_id, None)
            except NotFound:  # it is just being made or deleted
                continue
            except LightdError as error:
                self._complain(volume_id, error.message)
        if self._store.is_known():
            for record in self._records.ready(self._node):
                self._compare(record)

    def _compare(self, record: Volume) -> None:
        """The record was read before the host is asked: so what differs now is news from the host."""
        try:
            size_mb = self._volumes.get(record.volume_id).size_mb
        except LightdError:  # its calls say what is wrong with it
            return
        if size_mb != record.quota_mb:
            log.warning("a volume has another size than its record", volume=record.volume_id, size_mb=size_mb)
            self._records.resized(record.volume_id, size_mb, was_mb=record.quota_mb)

    def _complain(self, volume_id: str, reason: str) -> None:
        if self._broken.get(volume_id) != reason:
            self._broken[volume_id] = reason
            log.error("a volume cannot be used", volume=volume_id, reason=reason)
