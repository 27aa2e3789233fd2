"""Ports: who holds them in the pool against who has them in its record."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from fleet.lifecycle import State
from fleet.models import Container, Port
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.ports import PortRepository
from worker.doctor.difference import Difference


class PortCheck:
    """Looks at the whole pool; of the containers that should hold a port only at those of one host."""

    def __init__(self, node: str, ports: PortRepository, containers: ContainerRepository) -> None:
        self._node = node
        self._ports = ports
        self._containers = containers

    def look(self) -> Iterator[Difference]:
        """All differences."""
        pool = {port.member: port for port in self._every()}
        held = [port for port in pool.values() if port.internal_id]
        holders = {record.internal_id: record for record in self._containers.many({port.internal_id for port in held})}
        for port in held:
            if not _has(holders.get(port.internal_id), port.member):
                free = partial(self._ports.mend, port.member, port.internal_id, "")
                yield Difference(
                    f"Port {_shown(port.member)} is held by {port.internal_id}, which has no record of it.", free
                )
        for record in self._containers.of_node(self._node):
            if record.state is not State.FAILED and not record.deleting:
                for binding in record.ports:
                    yield from self._held(record, binding.member, pool.get(binding.member))

    def _held(self, record: Container, member: str, port: Port | None) -> Iterator[Difference]:
        name = record.internal_id
        if port is None:
            yield Difference(f"Container {name} has port {_shown(member)}, which is not in the pool; add it.")
        elif not port.internal_id:
            take = partial(self._ports.mend, member, "", name)
            yield Difference(f"Container {name} has port {_shown(member)}, but the pool says that it is free.", take)
        elif port.internal_id != name:
            yield Difference(
                f"Container {name} has port {_shown(member)}, which {port.internal_id} holds; rebind one of them."
            )

    def _every(self) -> Iterator[Port]:
        after: str | None = ""
        while after is not None:
            page, after = self._ports.page(after, 1000)
            yield from page


def _has(record: Container | None, member: str) -> bool:
    if record is None:
        return False
    holds = () if record.state is State.FAILED else record.ports
    return any(binding.member == member for binding in (*holds, *(record.next_ports or ())))


def _shown(member: str) -> str:
    return "{}:{}/{}".format(*member.split("|"))
