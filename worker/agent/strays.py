"""What engine and disk hold of containers of this Lightd that the record knows nothing of.

A container that was deleted while its host was away leaves all of it, a deletion that was cut short a part.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import structlog

from fleet.errors import Conflict
from fleet.repositories.containers import ContainerRepository
from fleet.settings import Settings
from worker.known_store import KnownStore, own_containers
from worker.operations.container_folder import remove_folder
from worker.operations.locks import Busy, HeldBySameJob, container_lock
from worker.runtime.base import ListedContainer, Runtime

_Found = TypeVar("_Found", bound=ListedContainer)

log = structlog.get_logger()


class Strays:
    """Finds and removes it. The store is asked who it is before and after it is asked for records: one that is emptied
    in between takes nothing with it, nor does one that is recovered from that at the same moment.
    """

    def __init__(
        self, settings: Settings, runtime: Runtime, containers: ContainerRepository, store: KnownStore
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._containers = containers
        self._store = store

    def among(self, every: Iterable[_Found]) -> list[_Found]:
        """Those of `every` that have no record, in a store that this host knows."""
        own = own_containers(self._settings, every)
        known = self._known()
        return [found for found in own if known is not None and found.container_id not in known]

    def images(self) -> dict[str, str]:
        """Private images without a record, each with the id of its container."""
        every = self._runtime.private_images(self._settings.node, str(self._settings.data))
        known = self._known()
        return {image: name for image, name in every.items() if known is not None and name not in known}

    def folders(self) -> list[Path]:
        """Folders with the scripts of containers that have no record."""
        folder = self._settings.data / "containers"
        every = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
        known = self._known()
        return sorted(path for path in every if known is not None and path.name not in known)

    def remove(self, every: Iterable[ListedContainer]) -> None:
        """Remove all of it; what somebody is at work with, as for a new container of the name, is left alone."""
        for found in self.among(every):
            log.info("removing an engine container without a record", name=found.name)
            self._runtime.remove(found.engine_id)
        for image, name in self.images().items():
            self._remove_part(name, image, None)
        for folder in self.folders():
            self._remove_part(folder.name, None, folder)

    def _known(self) -> set[str] | None:
        """Every container that has a record; None where the store does not know. To be read after what is compared with
        it: a record comes first.
        """
        since = self._store.known_since()
        names = set(self._containers.names())
        return names if since is not None and self._store.known_since() == since else None

    def _remove_part(self, name: str, image: str | None, folder: Path | None) -> None:
        with contextlib.suppress(Busy, HeldBySameJob), container_lock(self._settings, name, "", patience_seconds=0):
            if self._containers.exists(name):
                return
            log.info("removing what is left of a container without a record", container=name)
            if folder is not None:
                remove_folder(folder)
            if image is not None:
                try:
                    self._runtime.remove_image(image)
                except Conflict as error:
                    log.warning("a private image without a record is left", image=image, reason=error.message)
