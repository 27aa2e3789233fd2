"""The three ways to ask for a port of the pool."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from marshmallow import Schema, ValidationError, post_load

from app.network.schemas import IpAddress, port_number, protocol
from fleet.models import PortWish


class WantedPort(Schema):
    """A port of the pool, in one of three forms.

    `{"ip", "port"}`: this one, with the same number inside. `{"container_port", "host_port"}`, with `"ip"` if it
    matters: this one, with another number inside. `{"container_port"}`: a free one that the pool chooses.
    """

    ip = IpAddress(load_default=None)
    port = port_number(load_default=None)
    protocol = protocol()
    container_port = port_number(load_default=None)
    host_port = port_number(load_default=None)

    @post_load
    def _wish(self, values: dict[str, Any], **_: Any) -> PortWish:
        given = {name for name in ("ip", "port", "container_port", "host_port") if values[name] is not None}
        if given == {"ip", "port"}:
            return PortWish(values["protocol"], None, values["ip"], values["port"])
        if given - {"ip"} == {"container_port", "host_port"} or given == {"container_port"}:
            return PortWish(values["protocol"], values["container_port"], values["ip"], values["host_port"])
        raise ValidationError("Give ip and port, or container_port and host_port, or container_port alone.")


def require_distinct(wishes: Iterable[PortWish]) -> None:
    """Raise ValidationError when one port of the pool is asked for twice."""
    seen = set()
    for wish in wishes:
        name = (wish.ip, wish.port, wish.protocol)
        if wish.port is not None and name in seen:
            raise ValidationError(f"Port {wish.port}/{wish.protocol} is asked for twice.")
        seen.add(name)
