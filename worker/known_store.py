"""Whether the store still holds the record that this host goes by.

The store has an id for its contents, the generation, and every host keeps a copy in a file. An emptied store, a
restored one or another fleet's has another id: what it knows, or does not know, is then no reason to change anything
here. Nor is it in a store that was put back to how it was some time ago, as by an older copy of its files: it has
counted fewer signs of life of this host than the host remembers. `./lightd recover` writes into such a store what this
host holds, and accepts it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import structlog

from fleet.repositories.containers import ContainerRepository
from fleet.repositories.nodes import NodeRepository
from fleet.repositories.volumes import VolumeRepository
from fleet.settings import Settings
from storage.volumes import Volumes
from worker.runtime.base import LABEL_DATA, LABEL_NODE, ListedContainer, Runtime

_Found = TypeVar("_Found", bound=ListedContainer)

_LOST_SIGNS = 3
"""So many signs of life may be lost with a store that dies: not every store has written down its last seconds."""

log = structlog.get_logger()


class KnownStore:
    """The copy of the generation that a host keeps in `data`. Safe to use from many threads and processes.

    Before the first one, `is_strange` says whether the host holds what the store does not know; a host that holds
    nothing of that kind accepts the store. Without `is_strange` any first store will do, and is not written down.
    """

    def __init__(
        self, nodes: NodeRepository, data: Path, is_strange: Callable[[], bool] | None = None, *, node: str = ""
    ) -> None:
        self._nodes = nodes
        self._node = node
        self._file = data / "generation"
        self._signs_file = data / "signs"
        self._is_strange = is_strange
        self._told = ""
        self._lock = threading.Lock()

    def is_known(self) -> bool:
        """Whether the store's contents are those that this host goes by."""
        current = self._nodes.generation()
        kept = self.kept()
        if kept is None:
            kept = self._first(current)
        if kept == current and not self._is_older():
            self._told = ""
            return True
        self._tell(current)
        return False

    def known_since(self) -> int | None:
        """When this host began to go by the store's contents; None while it does not.

        What was read there between two equal answers was of that store: meanwhile it was not emptied and recovered.
        """
        if not self.is_known():
            return None
        try:
            return self._file.stat().st_mtime_ns
        except FileNotFoundError:  # any store will do
            return 0

    def kept(self) -> str | None:
        """The generation that this host goes by; None before its first."""
        try:
            return self._file.read_text().strip()
        except FileNotFoundError:
            return None

    def accept(self) -> None:
        """Go by the store's contents from now on."""
        generation = self._nodes.generation()
        self._write(self._signs_file, f"{self._nodes.signs(self._node)} {generation}")
        self._write(self._file, generation)

    def note_signs(self) -> None:
        """Remember how many signs of life of this host the store has counted; on a full disk, at a later one."""
        generation = self.kept()  # first: another store may be accepted at this moment, and has counted fewer
        counted = self._nodes.signs(self._node)
        if counted > self._noted_signs():
            with contextlib.suppress(OSError):
                self._write(self._signs_file, f"{counted} {generation}")

    def _is_older(self) -> bool:
        """Whether the store has forgotten signs of life that it had counted."""
        noted = self._noted_signs()
        return noted > 0 and self._nodes.signs(self._node) + _LOST_SIGNS < noted

    def _noted_signs(self) -> int:
        """What is remembered of the store that this host goes by."""
        try:
            counted, *generation = self._signs_file.read_text().split()
            return int(counted) if generation in ([], [self.kept()]) else 0
        except (FileNotFoundError, ValueError):  # none yet, or lost with the power
            return 0

    def _first(self, current: str) -> str:
        if self._is_strange is None:
            return current
        with self._lock:
            if (kept := self.kept()) is not None:
                return kept
            if self._is_strange():
                return ""
            self.accept()
            return current

    def _write(self, file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".new")
        fresh.write_text(f"{text}\n")
        fresh.replace(file)

    def _tell(self, current: str) -> None:
        if self._told == current:
            return
        self._told = current
        log.error(
            "the store is empty, older or another one than before: nothing on this host is deleted or changed;"
            " bring the old store back, or run `./lightd recover` on this host"
        )


def known_store_of(
    settings: Settings,
    runtime: Runtime,
    containers: ContainerRepository,
    volumes: VolumeRepository,
    nodes: NodeRepository,
) -> KnownStore:
    """The one for this host: a host with volumes or containers that the first store does not know is no new one."""

    def is_strange() -> bool:
        held = own_containers(settings, runtime.every(settings.node))
        return any(not containers.exists(found.container_id) for found in held) or any(
            not volumes.exists(meta.volume_id) for meta in Volumes(settings).all()
        )

    return KnownStore(nodes, settings.data, is_strange, node=settings.node)


def is_own(settings: Settings, found: ListedContainer) -> bool:
    """Whether an engine container is this Lightd's, by node and data folder: several may share an engine."""
    return (found.labels.get(LABEL_NODE), found.labels.get(LABEL_DATA)) == (settings.node, str(settings.data))


def own_containers(settings: Settings, every: Iterable[_Found]) -> list[_Found]:
    """Those engine containers that are this Lightd's."""
    return [found for found in every if is_own(settings, found)]
