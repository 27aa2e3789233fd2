"""This host as operations see it: its settings, the record, its engine, its volumes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fleet.console import Console
from fleet.errors import QuotaExceeded
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import JobRepository
from fleet.settings import Settings
from fleet.stats import StatsStore
from storage.beneath import Root
from storage.volumes.disk import check_disk_floor
from storage.volumes.driver import Usage
from worker.firewall import Firewall
from worker.known_store import is_own
from worker.runtime.base import EngineContainer, Runtime

Relay = Callable[[Console, Settings, str, str, Callable[[], bool]], bytes]
"""Passes an engine container's output on to a console until it ends or the last argument says stop."""


class Volumes(Protocol):
    """The volumes of this host."""

    def ensure_mounted(self, volume_id: str) -> Path:
        """The volume's folder, mounted; raises NotFound, Unavailable."""

    def is_mounted(self, volume_id: str) -> bool:
        """Whether the folder can be used right now; raises NotFound."""

    def usage(self, volume_id: str) -> Usage:
        """How full the volume is; raises NotFound, Unavailable."""

    def opened_alone(self, volume_id: str) -> AbstractContextManager[Root]:
        """Hold a volume open for a job on it; raises NotFound, Unavailable, Conflict while it is resized or deleted."""


@dataclass(frozen=True, slots=True)
class Host:
    """Everything that operations work with."""

    settings: Settings
    containers: ContainerRepository
    jobs: JobRepository
    console: Console
    stats: StatsStore
    runtime: Runtime
    volumes: Volumes
    relay: Relay
    knows_store: Callable[[], bool] = lambda: True
    """Whether the store holds the record that this host goes by; jobs of another store are left alone."""
    firewall: Firewall | None = None

    def data_folder(self, container_id: str) -> Path:
        """The folder that a container sees as `/app/data`."""
        return self.settings.data / "containers" / container_id

    def check_volume(self, volume_id: str) -> None:
        """Raise QuotaExceeded for a volume beyond its size, which only a plain folder can be."""
        usage = self.volumes.usage(volume_id)
        if usage.is_beyond:
            raise QuotaExceeded(
                f"The volume is beyond its size: {usage.used_mb:g} MB are used of {usage.size_mb}; delete something or "
                "make it larger."
            )

    def check_disk(self, needed_bytes: int) -> int:
        """Raise Conflict (`node_full`) when taking so much fills the disk of the volumes, or that of the engine.

        Answers how many bytes may be taken.
        """
        folder = self.runtime.disk_folder()
        return check_disk_floor(self.settings, needed_bytes, *[folder] if folder else [])

    def remove_from_engine(self, name: str) -> None:
        """Remove an engine container that is ours; strangers of that name are left alone."""
        found = self.runtime.inspect(name)
        if found is not None and self.is_ours(found):
            self.runtime.remove(found.engine_id)

    def is_ours(self, found: EngineContainer) -> bool:
        """Whether a container is this Lightd's."""
        return is_own(self.settings, found)
