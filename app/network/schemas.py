"""The network pool as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate

from app.fields import Flag, Matching, Text, Whole
from app.network.address import HIGHEST_PORT, PROTOCOLS, normal_ip
from app.paging import PageQuery
from fleet.identifiers import NODE_NAME
from fleet.models import Port

_MOST_AT_ONCE = 10_000
"""More would hold up everything else that an API process does for seconds."""


class IpAddress(Text):
    """An IPv4 or IPv6 address, in its shortest spelling."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> str:
        return normal_ip(super()._deserialize(value, attr, data, **more))


def port_number(**more: Any) -> Whole:
    """A field for the number of a port."""
    return Whole(low=1, high=HIGHEST_PORT, **more)


def protocol(**more: Any) -> fields.String:
    """A field for `tcp` (the default) or `udp`."""
    return fields.String(**({"load_default": "tcp"} | more), validate=validate.OneOf(PROTOCOLS))


def node_name() -> Matching:
    """A field for the host that a port is pinned to."""
    return Matching(
        pattern=NODE_NAME,
        load_default=None,
        metadata={"description": "Only this host may bind it. Without it any host may, one container at a time."},
    )


class NewPort(Schema):
    """A port for the pool."""

    ip = IpAddress(required=True)
    port = port_number(required=True)
    protocol = protocol()
    node = node_name()


class NewPortRange(Schema):
    """Ports for the pool, from the first to the last of a range, all or none."""

    ip = IpAddress(required=True)
    first = port_number(required=True, data_key="from")
    last = port_number(required=True, data_key="to")
    protocol = protocol()
    node = node_name()

    @post_load
    def _numbers(self, values: dict[str, Any], **_: Any) -> dict[str, Any]:
        numbers = range(values.pop("first"), values.pop("last") + 1)
        if not 1 <= len(numbers) <= _MOST_AT_ONCE:
            raise ValidationError(f"Must not be below `from`, and at most {_MOST_AT_ONCE} ports at once.", "to")
        return {**values, "numbers": numbers}


class AddedPort(Schema):
    """A port was added."""

    message = fields.String()
    ip = fields.String()
    port = fields.Integer()
    protocol = fields.String()


class AddedPorts(Schema):
    """Ports were added."""

    message = fields.String()
    added_count = fields.Integer()


class NamedPort(Schema):
    """A port of the pool by name."""

    ip = IpAddress(required=True)
    port = port_number(required=True)
    protocol = protocol()


class PortNames(Schema):
    """Ports of the pool by name."""

    ports = fields.List(fields.Nested(NamedPort), required=True, validate=validate.Length(max=_MOST_AT_ONCE))


class DeletedPorts(Schema):
    """Ports were taken out of the pool; those that are unknown or held by a container were passed over."""

    message = fields.String()
    deleted_count = fields.Integer()


class ProtocolQuery(Schema):
    """Which of the ports of this number."""

    protocol = protocol()


class RandomQuery(Schema):
    """What the free port must be like."""

    protocol = protocol(load_default=None)
    node = fields.String(load_default=None, metadata={"description": "A port that this host may bind."})


class PortFilter(PageQuery):
    """Which ports to list."""

    in_use = fields.Boolean(load_default=None)
    protocol = protocol(load_default=None)
    node = fields.String(load_default=None, metadata={"description": "Ports that are pinned to this host."})


class PortUse(Schema):
    """Whether something outside Lightd uses a port."""

    in_use = Flag(required=True)


class UpdatedPort(Schema):
    """A port was marked."""

    message = fields.String()
    ip = fields.String()
    port = fields.Integer()
    in_use = fields.Boolean()


class PortState(Schema):
    """One port of the pool."""

    ip = fields.String()
    port = fields.Integer()
    protocol = fields.String()
    in_use = fields.Boolean()


class ListedPort(PortState):
    """One port of the pool, with who holds it and where it may be bound."""

    internal_id = fields.String(allow_none=True)
    node = fields.String(allow_none=True)


class PortPage(Schema):
    """Ports by address."""

    ports = fields.List(fields.Nested(ListedPort))
    next_cursor = fields.String()


class Told(Schema):
    """It is done."""

    message = fields.String()


def listed_port(port: Port) -> dict[str, Any]:
    """A port as an item of the list."""
    return {**port_state(port), "internal_id": port.internal_id or None, "node": port.node or None}


def port_state(port: Port) -> dict[str, Any]:
    """A port as JSON."""
    return {"ip": port.ip, "port": port.port, "protocol": port.protocol, "in_use": port.in_use}
