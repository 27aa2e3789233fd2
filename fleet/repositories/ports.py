"""The network pool: ports that containers may take, each by one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleet.errors import Conflict, Invalid, NotFound
from fleet.keys import key
from fleet.models import Port, port_member
from fleet.scripts import Scripts
from fleet.store import Client


class PortRepository:
    """All ports of the pool."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)

    def add(self, ports: Sequence[Port]) -> None:
        """Add ports, all or none. Raises Invalid when one overlaps a port of the pool."""
        request = {"ports": [_fields(port) for port in ports]}
        answer = self._scripts.run("add_port", request)
        if answer[0] != "ok":
            message = "Port already exists in pool"
            if len(ports) > 1:
                message = f"Port already exists in pool: {answer[2]}:{answer[3]}"
            raise Invalid(message, code="port_exists")

    def get(self, ip: str, port: int, protocol: str) -> Port:
        """One port; raises NotFound."""
        fields = self._redis.hgetall(key("port", port_member(ip, port, protocol)))
        if not fields:
            raise _unknown()
        return _from_fields(fields)

    def page(self, after: str = "", limit: int = 100) -> tuple[list[Port], str | None]:
        """Up to `limit` ports by name after `after`, and the name to go on from if there may be more."""
        first = f"({after}" if after else "-"
        members = self._redis.zrange(key("ports"), first, "+", bylex=True, offset=0, num=limit)
        return self._many(members), members[-1] if len(members) == limit else None

    def random_free(self, protocol: str, node: str | None = None) -> Port:
        """A port that nobody holds, not reserved by this call. Raises NotFound when there is none."""
        sample = self._redis.srandmember(key("ports_free", protocol), 32)
        for port in self._many(sample):
            if node is None or port.node in ("", node):
                return port
        for port in self._many(self._redis.smembers(key("ports_free", protocol)) if node else []):
            if port.node in ("", str(node)):
                return port
        raise NotFound("No available ports in pool", code="no_port_free")

    def use(self, ip: str, port: int, protocol: str, in_use: bool) -> None:
        """Mark a port as used by something else, or free. Raises NotFound, or Conflict when a container holds it."""
        member = port_member(ip, port, protocol)
        answer = self._scripts.run("use_port", {"member": member, "in_use": "1" if in_use else "0"})
        _check(answer)

    def delete(self, ip: str, port: int, protocol: str) -> None:
        """Take a port out of the pool. Raises NotFound, or Conflict when a container holds it."""
        members = [port_member(ip, port, protocol)]
        _check(self._scripts.run("delete_ports", {"members": members, "strict": True}))

    def delete_many(self, members: Sequence[str]) -> int:
        """Take out those of the ports that exist and that no container holds; answers how many."""
        if not members:
            return 0
        answer = self._scripts.run("delete_ports", {"members": list(members)})
        return int(answer[1])

    def mend(self, member: str, was: str, holder: str) -> None:
        """Give a port to the container whose record has it, or free it; nothing unless `was` still holds it."""
        self._scripts.run("mend_port", {"member": member, "was": was, "holder": holder})

    def _many(self, members: Sequence[str]) -> list[Port]:
        with self._redis.pipeline(transaction=False) as pipe:
            for member in members:
                pipe.hgetall(key("port", member))
            return [_from_fields(fields) for fields in pipe.execute() if fields]


def _check(answer: list[str]) -> None:
    if answer[0] == "ok":
        return
    if answer[1] == "missing":
        raise _unknown()
    raise Conflict(f"The port is held by container {answer[2]}.", code="port_in_use")


def _unknown() -> NotFound:
    return NotFound("Port not found in pool", code="port_not_found")


def _fields(port: Port) -> dict[str, Any]:
    return {"ip": port.ip, "port": str(port.port), "protocol": port.protocol, "node": port.node}


def _from_fields(fields: dict[str, str]) -> Port:
    return Port(
        ip=fields["ip"],
        port=int(fields["port"]),
        protocol=fields["protocol"],
        node=fields["node"],
        internal_id=fields["internal_id"],
        in_use=fields["in_use"] == "1",
    )
