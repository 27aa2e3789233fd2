"""Containers: the record against the engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial

from fleet.errors import Conflict, NotFound
from fleet.lifecycle import ALIVE, State
from fleet.models import Container, Limits
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import JobRepository
from fleet.settings import Settings
from worker.agent.strays import Strays
from worker.doctor.difference import Difference
from worker.known_store import own_containers
from worker.operations.container_folder import remove_folder
from worker.operations.locks import Busy, HeldBySameJob, container_lock
from worker.operations.names import private_image, server_name
from worker.runtime.base import LABEL_SPEC, USUAL_IO_WEIGHT, EngineContainer, Runtime


class ContainerCheck:
    """Looks at every container of this host. One that a job works on is left out: it changes just now.

    `compare` brings all records in line with the engine, as the agent does.
    """

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        containers: ContainerRepository,
        jobs: JobRepository,
        strays: Strays,
        compare: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._containers = containers
        self._jobs = jobs
        self._strays = strays
        self._compare = compare

    def look(self) -> Iterator[Difference]:
        """All differences. The engine is listed first: what has no record after that has been deleted."""
        every = own_containers(self._settings, self._runtime.every(self._settings.node))
        records = self._containers.of_node(self._settings.node)
        for stray in self._strays.among(every):
            remove = partial(self._runtime.remove, stray.engine_id)
            yield Difference(f"The engine has a container {stray.name} without a record.", remove)
        servers = {found.container_id: found for found in every if found.name == server_name(found.container_id)}
        for record in records:
            if self._is_worked_on(record):
                continue
            if record.deleting:
                reason = record.error or "Its deletion was broken off."
                yield Difference(f"Container {record.internal_id} was not deleted whole; delete it again. {reason}")
            elif record.state is State.INSTALLING:
                sentence = f"Container {record.internal_id} is installing in the record, but no job is on it."
                yield Difference(sentence, self._compare)
            else:
                own = [found for found in every if found.container_id == record.internal_id]
                by_id = next((found for found in own if found.engine_id == record.container_id), None)
                server = servers.get(record.internal_id) or by_id
                yield from self._server(record, server)
                yield from self._left([found for found in own if found is not server])
        yield from self._images()
        yield from self._folders()

    def _is_worked_on(self, record: Container) -> bool:
        try:
            return record.job_id is not None and self._jobs.get(record.job_id).is_open
        except NotFound:
            return False

    def _server(self, record: Container, found: EngineContainer | None) -> Iterator[Difference]:
        name = record.internal_id
        if found is None:
            yield from self._no_server(record)
        elif found.engine_id != record.container_id:
            sentence = f"The record of container {name} speaks of another engine container than {found.name}."
            yield Difference(sentence, None if record.state is State.FAILED else self._compare)
        elif found.running is not (record.state in ALIVE):
            does = "runs" if found.running else "does not run"
            sentence = f"Container {name} {does} in the engine, but its record says {record.state}."
            yield Difference(sentence, None if record.state is State.FAILED else self._compare)
        elif not _has_ports(found, record):
            yield Difference(f"Container {name} has other ports in the engine than in its record; rebind its network.")
        else:
            yield from self._details(record, found)

    def _details(self, record: Container, found: EngineContainer) -> Iterator[Difference]:
        """What a server that is where it should be differs in."""
        name = record.internal_id
        if found.name != server_name(name):
            yield Difference(f"The engine container of {name} is called {found.name} now.", self._compare)
        if found.paused:
            yield Difference(
                f"Container {name} is paused in the engine.", partial(self._runtime.resume, found.engine_id)
            )
        if _limits(replace(record.spec.limits, **found.limits)) != _limits(record.spec.limits):
            mend = partial(self._set_limits, name, found.engine_id)
            yield Difference(f"Container {name} has other limits in the engine than in its record.", mend)
        if record.own_image and not self._runtime.has_image(private_image(name)):
            yield Difference(f"The private image of container {name} is missing; repair it.")

    def _set_limits(self, name: str, engine_id: str) -> None:
        try:
            with container_lock(self._settings, name, "", patience_seconds=0):
                self._runtime.update(engine_id, self._containers.get(name).spec.limits)
        except (Busy, HeldBySameJob) as error:
            raise Conflict("a job is at work on it just now") from error

    def _no_server(self, record: Container) -> Iterator[Difference]:
        name = record.internal_id
        if record.state in ALIVE:
            sentence = f"The record says {record.state} of container {name}, but the engine has none."
            yield Difference(sentence, self._compare)
        elif record.state is State.READY and record.container_id is not None:
            yield Difference(f"The engine has no container for {name}; its next start makes it again.")

    def _left(self, every: list[EngineContainer]) -> Iterator[Difference]:
        """What an install or a rebind has left."""
        for found in every:
            remove = partial(self._runtime.remove, found.engine_id)
            yield Difference(f"The engine has a container {found.name}, but nobody is at work with it.", remove)

    def _images(self) -> Iterator[Difference]:
        for image in self._strays.images():
            remove = partial(self._runtime.remove_image, image)
            yield Difference(f"The engine has an image {image} of a container that has no record.", remove)

    def _folders(self) -> Iterator[Difference]:
        for path in self._strays.folders():
            sentence = f"The folder {path} has scripts of a container that has no record."
            yield Difference(sentence, partial(remove_folder, path))


def _limits(limits: Limits) -> tuple[float, ...]:
    """As far as the engine can tell them."""
    weight = limits.io_weight or USUAL_IO_WEIGHT
    return limits.memory_bytes, limits.swap_bytes, round(limits.cpu, 9), limits.pids, weight


def _has_ports(found: EngineContainer, record: Container) -> bool:
    """Whether the engine container was made with the ports that the record names."""
    told = json.loads(found.labels.get(LABEL_SPEC, "{}")).get("ports")
    return told is None or told == [asdict(port) for port in record.ports]
