"""Engine containers of this node, and of this data folder, that the record knows nothing of."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from fleet.repositories.containers import ContainerRepository
from fleet.settings import Settings
from worker.known_store import KnownStore, own_containers
from worker.runtime.base import EngineContainer, Runtime

log = structlog.get_logger()


class Strays:
    """Finds and removes what a deleted container left in the engine."""

    def __init__(
        self, settings: Settings, runtime: Runtime, containers: ContainerRepository, store: KnownStore
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._containers = containers
        self._store = store

    def among(self, every: Iterable[EngineContainer]) -> list[EngineContainer]:
        """Those of `every` that have no record, in a store that this host knows.

        The store is asked who it is after it was asked for the record: one that is emptied in between takes nothing
        with it.
        """
        without = [
            found for found in own_containers(self._settings, every) if not self._containers.exists(found.container_id)
        ]
        return without if without and self._store.is_known() else []

    def remove(self, every: Iterable[EngineContainer]) -> None:
        """Remove them."""
        for found in self.among(every):
            log.info("removing an engine container without a record", name=found.name)
            self._runtime.remove(found.engine_id)
