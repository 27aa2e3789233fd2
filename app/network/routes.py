"""The pool of ports."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError

from app.access import Reach, caller, needs
from app.json_body import Blueprint
from app.network.address import HIGHEST_PORT, PROTOCOLS, normal_ip
from app.network.schemas import (
    AddedPort,
    AddedPorts,
    DeletedPorts,
    NewPort,
    NewPortRange,
    PortFilter,
    PortNames,
    PortPage,
    PortState,
    PortUse,
    ProtocolQuery,
    RandomQuery,
    Told,
    UpdatedPort,
    listed_port,
    port_state,
)
from app.paging import page_of
from app.services import services
from fleet.errors import NotFound
from fleet.models import Port, port_member
from fleet.scopes import Scope

blueprint = Blueprint("network", __name__, description="Ports that containers may take, each by one at a time.")


@blueprint.route("/network/ports", methods=["POST"])
@blueprint.arguments(NewPort)
@blueprint.response(200, AddedPort)
@needs(Scope.ADMIN, reach=Reach.FLEET)
def add_port(wanted: dict[str, Any]) -> dict[str, Any]:
    """Add a port to the pool."""
    services().ports.add([_new_port(wanted, wanted["port"])])
    named = {name: wanted[name] for name in ("ip", "port", "protocol")}
    return {"message": "Port added to pool", **named}


@blueprint.route("/network/ports/bulk", methods=["POST"])
@blueprint.arguments(NewPortRange)
@blueprint.response(200, AddedPorts)
@needs(Scope.ADMIN, reach=Reach.FLEET)
def add_port_range(wanted: dict[str, Any]) -> dict[str, Any]:
    """Add a range of ports to the pool, all or none."""
    numbers: range = wanted["numbers"]
    services().ports.add([_new_port(wanted, number) for number in numbers])
    return {"message": f"Added {len(numbers)} ports to pool", "added_count": len(numbers)}


@blueprint.route("/network/ports")
@blueprint.arguments(PortFilter, location="query")
@blueprint.response(200, PortPage)
@needs(Scope.READ, reach=Reach.OWN)
def list_ports(query: dict[str, Any]) -> dict[str, Any]:
    """List the pool; for a container's token what its containers hold."""
    within = caller().containers
    asked = {name: query[name] for name in ("in_use", "protocol", "node") if query[name] is not None}

    def keep(port: Port) -> bool:
        is_own = not within or port.internal_id in within
        return is_own and all(getattr(port, name) == value for name, value in asked.items())

    return page_of("ports", services().ports.page, lambda port: port.member, query, show=listed_port, keep=keep)


@blueprint.route("/network/ports/random")
@blueprint.arguments(RandomQuery, location="query")
@blueprint.response(200, PortState)
@needs(Scope.READ, reach=Reach.FLEET)
def random_port(query: dict[str, Any]) -> dict[str, Any]:
    """Name a free port, without reserving it; without `protocol` a TCP port if there is one."""
    protocols = [query["protocol"]] if query["protocol"] else list(PROTOCOLS)
    for protocol in protocols[:-1]:
        try:
            return port_state(services().ports.random_free(protocol, query["node"]))
        except NotFound:
            continue
    return port_state(services().ports.random_free(protocols[-1], query["node"]))


@blueprint.route("/network/ports/<ip>/<port>")
@blueprint.arguments(ProtocolQuery, location="query")
@blueprint.response(200, PortState)
@needs(Scope.READ, reach=Reach.FLEET)
def get_port(query: dict[str, Any], ip: str, port: str) -> dict[str, Any]:
    """One port of the pool."""
    return port_state(services().ports.get(*_name(ip, port), query["protocol"]))


@blueprint.route("/network/ports/<ip>/<port>/use", methods=["PUT"])
@blueprint.arguments(ProtocolQuery, location="query")
@blueprint.arguments(PortUse)
@blueprint.response(200, UpdatedPort)
@needs(Scope.ADMIN, reach=Reach.FLEET)
def use_port(query: dict[str, Any], wanted: dict[str, Any], ip: str, port: str) -> dict[str, Any]:
    """Mark a port as used by something outside Lightd, or free again."""
    address, number = _name(ip, port)
    services().ports.use(address, number, query["protocol"], wanted["in_use"])
    return {"message": "Port usage updated", "ip": address, "port": number, "in_use": wanted["in_use"]}


@blueprint.route("/network/ports/<ip>/<port>", methods=["DELETE"])
@blueprint.arguments(ProtocolQuery, location="query")
@blueprint.response(200, Told)
@needs(Scope.ADMIN, reach=Reach.FLEET)
def delete_port(query: dict[str, Any], ip: str, port: str) -> dict[str, Any]:
    """Take a port out of the pool."""
    services().ports.delete(*_name(ip, port), query["protocol"])
    return {"message": "Port deleted from pool"}


@blueprint.route("/network/ports/bulk-delete", methods=["POST"])
@blueprint.arguments(PortNames)
@blueprint.response(200, DeletedPorts)
@needs(Scope.ADMIN, reach=Reach.FLEET)
def delete_ports(wanted: dict[str, Any]) -> dict[str, Any]:
    """Take ports out of the pool."""
    count = services().ports.delete_many([port_member(**named) for named in wanted["ports"]])
    return {"message": f"Deleted {count} ports from pool", "deleted_count": count}


def _new_port(wanted: dict[str, Any], number: int) -> Port:
    return Port(wanted["ip"], number, wanted["protocol"], wanted["node"] or "", internal_id="", in_use=False)


def _name(ip: str, port: str) -> tuple[str, int]:
    """Address and number as they stand in a path; what cannot be one is not in the pool either."""
    unknown = NotFound("Port not found in pool", code="port_not_found")
    if not (port.isascii() and port.isdigit() and len(port) <= len(str(HIGHEST_PORT))):
        raise unknown
    try:
        return normal_ip(ip), int(port)
    except ValidationError as error:
        raise unknown from error
