"""Writing everything that this host holds into the store, and going by that store from then on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fleet.console import Console
from fleet.errors import LightdError
from fleet.lifecycle import State
from fleet.models import Container, Volume
from fleet.repositories.recovery import KNOWN, REPLACED, UPDATED, RecoveryRepository
from fleet.settings import Settings
from storage.volumes import Volumes, volume_path
from storage.volumes.meta import VolumeMeta
from worker.known_store import KnownStore, own_containers
from worker.operations.locks import Busy, HeldBySameJob, container_lock
from worker.operations.names import next_name, private_image, server_name
from worker.recovery.evidence import container_from
from worker.runtime.base import ROLE_INSTALL, EngineContainer, Runtime
from worker.second_copy import SecondCopy

_PATIENCE_SECONDS = 30.0
_HOLDER = "recover"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one thing: a sentence, and whether it is as it should be."""

    sentence: str
    ok: bool = True


@dataclass(frozen=True, slots=True)
class Recovery:
    """Brings the record of this host back. Every step may be repeated."""

    settings: Settings
    runtime: Runtime
    volumes: Volumes
    records: RecoveryRepository
    console: Console
    store: KnownStore

    def run(self, *, force: bool = False) -> Iterator[Outcome]:
        """Bring back volumes, then containers; then accept the store, if nothing was left behind or `force` is set.

        `force` also lets what this host holds take the place of other things that the store knows by the same id.
        Answers what was done, one outcome a thing.
        """
        if self.store.kept() is not None and self.store.is_known() and not force:
            yield Outcome("This host goes by the store already; there is nothing to recover.")
            return
        complete = True
        for outcome in (*self._bring_volumes(force), *self._bring_containers(force)):
            complete = complete and outcome.ok
            yield outcome
        if complete or force:
            self.store.accept()
            yield Outcome("This host goes by the store from now on; its agent goes on within seconds.")
        else:
            yield Outcome(
                "This host does not go by the store yet: mend what is above and run this again, or go on without it"
                " with --force; engine containers that have no record are removed then.",
                ok=False,
            )

    def _bring_volumes(self, force: bool) -> Iterator[Outcome]:
        for meta in self.volumes.all():
            try:
                self.volumes.ensure_mounted(meta.volume_id)
                became = self.records.volume(self._volume(meta), force=force)
            except LightdError as error:
                yield Outcome(f"volume {meta.volume_id} was not brought back: {error.message}", ok=False)
            else:
                yield Outcome(f"volume {meta.volume_id} ({meta.size_mb} MB) {_BECAME.get(became, 'is back')}")

    def _volume(self, meta: VolumeMeta) -> Volume:
        path = volume_path(self.settings, meta.volume_id)
        return Volume(
            meta.volume_id, self.settings.node, str(path), meta.size_mb, meta.driver, "ready", *[meta.created_at] * 2
        )

    def _bring_containers(self, force: bool) -> Iterator[Outcome]:
        """What a worker still does for the lost record ends first: it might remove what was just brought back."""
        with ExitStack() as held:
            names, busy = self._hold(held)
            for name in sorted(busy):
                yield Outcome(f"container {name} is still worked on; run this again when that has ended", ok=False)
            yield from self._bring_held_containers(names if force else names - busy, force)

    def _hold(self, held: ExitStack) -> tuple[set[str], set[str]]:
        """Take the locks of all containers that the host holds, also of those that come into being meanwhile; answers
        all their names, and those of the containers whose locks are not to be had.
        """
        names: set[str] = set()
        busy: set[str] = set()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while fresh := self._names() - names:
            for name in sorted(fresh):
                left_seconds = max(0.0, deadline - time.monotonic())
                try:
                    held.enter_context(container_lock(self.settings, name, _HOLDER, left_seconds))
                except (Busy, HeldBySameJob):
                    busy.add(name)
            names |= fresh
        return names, busy

    def _names(self) -> set[str]:
        """The containers that engine and disk hold something of now."""
        every = own_containers(self.settings, self.runtime.every(self.settings.node))
        copies = SecondCopy(self.settings).read()
        return {found.container_id for found in every} | {copy.internal_id for copy in copies}

    def _bring_held_containers(self, names: set[str], force: bool) -> Iterator[Outcome]:
        self._finish_replacements(names)
        every = own_containers(self.settings, self.runtime.every(self.settings.node))
        servers = {found.container_id: found for found in every if found.name == server_name(found.container_id)}
        installs = {found.container_id: found for found in every if found.role == ROLE_INSTALL}
        others = [found for found in every if found.engine_id not in {one.engine_id for one in servers.values()}]
        copies = {copy.internal_id: copy for copy in SecondCopy(self.settings).read()}
        told: dict[str, Container | None] = dict.fromkeys(sorted({*servers, *installs, *copies}))
        for name in [name for name in told if name in names]:
            try:
                told[name] = container_from(
                    self.settings.node, self._folder(name), servers.get(name), installs.get(name), copies.get(name)
                )
            except LightdError as error:
                yield Outcome(f"container {name} was not brought back: {error.message}", ok=False)
        for name in self.records.give_up_ports(self.settings.node, told, force=force):
            yield Outcome(f"container {name} has failed: this host holds nothing of it, and another has its port")
        for name, container in told.items():
            if container is not None:
                yield self._bring(container, [found for found in others if found.container_id == name], force)

    def _bring(self, container: Container, others: list[EngineContainer], force: bool) -> Outcome:
        name = container.internal_id
        try:
            became = self.records.container(container, force=force)
            self._clear(container, others)
        except LightdError as error:
            return Outcome(f"container {name} was not brought back: {error.message}", ok=False)
        return Outcome(f"container {name} ({_shown(container)}) {_BECAME.get(became, 'is back')}")

    def _finish_replacements(self, names: set[str]) -> None:
        """A container that was about to take its server's place has it when the old one is gone already."""
        for found in own_containers(self.settings, self.runtime.every(self.settings.node)):
            name = server_name(found.container_id)
            is_next = found.name == next_name(found.container_id) and found.container_id in names
            if is_next and self.runtime.inspect(name) is None:
                self.runtime.rename(found.engine_id, name)

    def _clear(self, container: Container, others: list[EngineContainer]) -> None:
        """Remove what is left of an install or a rebind that nobody waits for, and have a torn console read anew."""
        for found in others:
            self.runtime.remove(found.engine_id)
        if container.state is State.FAILED:
            self.runtime.remove_image(private_image(container.internal_id))
        self.console.forget_torn(container.internal_id)

    def _folder(self, name: str) -> Path:
        return self.settings.data / "containers" / name


_BECAME = {
    KNOWN: "was there already",
    REPLACED: "has taken the place of another record",
    UPDATED: "was there and has its later changes again",
}


def _shown(container: Container) -> str:
    ports = ", ".join(f"{port.ip}:{port.port}/{port.protocol}" for port in container.ports)
    return f"{container.state}, ports {ports}" if ports else str(container.state)
