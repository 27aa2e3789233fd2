"""Engine containers of this node, and of this data folder, that the record knows nothing of.

They are removed, but only while the store is the one this host has always known: an emptied or another store
knows nothing of anybody, and that is no reason to delete everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import structlog

from fleet.errors import NotFound
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.nodes import NodeRepository
from worker.runtime.base import LABEL_DATA, EngineContainer, Runtime

log = structlog.get_logger()


class Strays:
    """Removes what a deleted container left in the engine. A file in `data` keeps the id of the store's contents."""

    def __init__(self, runtime: Runtime, containers: ContainerRepository, nodes: NodeRepository, data: Path) -> None:
        self._runtime = runtime
        self._containers = containers
        self._nodes = nodes
        self._data = data
        self._file = data / "generation"
        self._told = ""

    def remove(self, every: Iterable[EngineContainer]) -> None:
        """Remove those of `every` that have no record."""
        if not self.store_is_known():
            return
        for found in every:
            if found.labels.get(LABEL_DATA) != str(self._data) or self._has_record(found.container_id):
                continue
            log.info("removing an engine container without a record", name=found.name)
            self._runtime.remove(found.engine_id)

    def store_is_known(self) -> bool:
        """Whether the store has the contents that this host knows. The first store it meets becomes that."""
        current = self._nodes.generation()
        try:
            kept = self._file.read_text().strip()
        except FileNotFoundError:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(current + "\n")
            return True
        if kept != current and self._told != current:
            self._told = current
            log.error(
                "the store is empty or another one than before: nothing on this host will be deleted;"
                f" bring the old one back, or remove {self._file} to accept this one"
            )
        return kept == current

    def _has_record(self, container_id: str) -> bool:
        try:
            self._containers.get(container_id)
        except NotFound:
            return False
        return True
