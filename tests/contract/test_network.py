"""The pool of ports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.answers import Answer, accepted, refused
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine

NOT_IN_POOL = "Port not found in pool"
EXISTS = "Port already exists in pool"
NODE_IP = "192.0.2.7"


@pytest.fixture
def pool(stack: Stack) -> Iterator[Stack]:
    """The stack with an empty pool, before the test and after it."""
    empty(stack)
    yield stack
    empty(stack)


def empty(stack: Stack) -> None:
    for port in accepted(stack.api("GET", "/network/ports?limit=1000"))["ports"]:
        path = f"{path_of(port)}?protocol={port['protocol']}"
        if port["in_use"] and not port["internal_id"]:
            accepted(stack.api("PUT", f"{path_of(port)}/use?protocol={port['protocol']}", json={"in_use": False}))
        accepted(stack.api("DELETE", path))


def path_of(port: Answer) -> str:
    return f"/network/ports/{port['ip']}/{port['port']}"


def add(stack: Stack, port: int, ip: str = NODE_IP, **more: str) -> Answer:
    return accepted(stack.api("POST", "/network/ports", json={"ip": ip, "port": port, **more}))


def ports_of(stack: Stack, query: str = "") -> list[tuple[str, int, str]]:
    listed = accepted(stack.api("GET", f"/network/ports{query}"))["ports"]
    return sorted((port["ip"], port["port"], port["protocol"]) for port in listed)


def test_a_port_is_added_as_tcp_unless_told_otherwise(pool: Stack) -> None:
    told = {"message": "Port added to pool", "ip": NODE_IP, "port": 25565}
    assert add(pool, 25565) == {**told, "protocol": "tcp"}
    assert add(pool, 25565, protocol="udp") == {**told, "protocol": "udp"}
    assert ports_of(pool) == [(NODE_IP, 25565, "tcp"), (NODE_IP, 25565, "udp")]


@pytest.mark.parametrize("second", [NODE_IP, "0.0.0.0"])
def test_a_port_that_is_there_already_is_400(pool: Stack, second: str) -> None:
    add(pool, 25565)
    refused(pool.api("POST", "/network/ports", json={"ip": second, "port": 25565}), 400, EXISTS)
    add(pool, 25565, ip=second, protocol="udp")


def test_a_single_address_beside_all_addresses_is_400(pool: Stack) -> None:
    add(pool, 25565, ip="0.0.0.0")
    refused(pool.api("POST", "/network/ports", json={"ip": NODE_IP, "port": 25565}), 400, EXISTS)
    add(pool, 25566)


def test_the_list_tells_all_about_each_port(pool: Stack) -> None:
    add(pool, 25565)
    (port,) = accepted(pool.api("GET", "/network/ports"))["ports"]
    assert port.keys() >= {"ip", "port", "protocol", "in_use", "internal_id", "node"}
    assert (port["ip"], port["port"], port["protocol"]) == (NODE_IP, 25565, "tcp")
    assert port["in_use"] is False
    assert port["internal_id"] is None


def test_the_list_is_filtered_by_use_and_protocol(pool: Stack) -> None:
    add(pool, 25565)
    add(pool, 25566, protocol="udp")
    accepted(pool.api("PUT", f"/network/ports/{NODE_IP}/25565/use", json={"in_use": True}))
    assert ports_of(pool, "?in_use=true") == ports_of(pool, "?protocol=tcp") == [(NODE_IP, 25565, "tcp")]
    assert ports_of(pool, "?in_use=false") == ports_of(pool, "?protocol=udp") == [(NODE_IP, 25566, "udp")]
    assert ports_of(pool, "?in_use=true&protocol=udp") == []
    for query in ("?in_use=maybe", "?protocol=icmp"):
        refused(pool.api("GET", f"/network/ports{query}"), 400)


def test_one_port_is_found_by_its_address_number_and_protocol(pool: Stack) -> None:
    add(pool, 25565, protocol="udp")
    refused(pool.api("GET", f"/network/ports/{NODE_IP}/25565"), 404, NOT_IN_POOL)
    body = accepted(pool.api("GET", f"/network/ports/{NODE_IP}/25565?protocol=udp"))
    wanted = {"ip": NODE_IP, "port": 25565, "protocol": "udp", "in_use": False}
    assert {key: body[key] for key in wanted} == wanted


def test_a_random_port_is_a_free_one(pool: Stack) -> None:
    refused(pool.api("GET", "/network/ports/random"), 404, "No available ports in pool")
    add(pool, 25565)
    add(pool, 25566)
    accepted(pool.api("PUT", f"/network/ports/{NODE_IP}/25565/use", json={"in_use": True}))
    for _ in range(5):
        body = accepted(pool.api("GET", "/network/ports/random"))
        assert (body["ip"], body["port"], body["protocol"]) == (NODE_IP, 25566, "tcp")
    assert accepted(pool.api("GET", f"/network/ports/{NODE_IP}/25566"))["in_use"] is False, "it is not reserved"


def test_the_use_of_a_port_is_told_by_hand(pool: Stack) -> None:
    add(pool, 25565)
    for in_use in (True, True, False):
        body = accepted(pool.api("PUT", f"/network/ports/{NODE_IP}/25565/use", json={"in_use": in_use}))
        assert body == {"message": "Port usage updated", "ip": NODE_IP, "port": 25565, "in_use": in_use}
        assert accepted(pool.api("GET", f"/network/ports/{NODE_IP}/25565"))["in_use"] is in_use
    refused(pool.api("PUT", f"/network/ports/{NODE_IP}/1/use", json={"in_use": True}), 404, NOT_IN_POOL)


def test_a_port_is_deleted_once(pool: Stack) -> None:
    add(pool, 25565)
    add(pool, 25565, protocol="udp")
    assert accepted(pool.api("DELETE", f"/network/ports/{NODE_IP}/25565")) == {"message": "Port deleted from pool"}
    refused(pool.api("DELETE", f"/network/ports/{NODE_IP}/25565"), 404, NOT_IN_POOL)
    assert ports_of(pool) == [(NODE_IP, 25565, "udp")]
    accepted(pool.api("DELETE", f"/network/ports/{NODE_IP}/25565?protocol=udp"))
    assert ports_of(pool) == []


def test_a_range_is_added_in_one_call(pool: Stack) -> None:
    body = {"ip": NODE_IP, "from": 30000, "to": 30009, "protocol": "udp"}
    accepted(pool.api("POST", "/network/ports/bulk", json=body))
    assert ports_of(pool) == [(NODE_IP, port, "udp") for port in range(30000, 30010)]


@pytest.mark.parametrize("bounds", [(30009, 30000), (0, 10), (65000, 65536), ("a", 5)])
def test_a_range_that_is_none_is_refused(pool: Stack, bounds: tuple[object, object]) -> None:
    body = {"ip": NODE_IP, "from": bounds[0], "to": bounds[1]}
    refused(pool.api("POST", "/network/ports/bulk", json=body), 400)
    assert ports_of(pool) == []


def test_many_ports_are_deleted_in_one_call(pool: Stack) -> None:
    for port in (1001, 1002, 1003):
        add(pool, port)
    body = {"ports": [{"ip": NODE_IP, "port": port} for port in (1001, 1003, 1999)]}
    answer = accepted(pool.api("POST", "/network/ports/bulk-delete", json=body))
    assert answer["message"] == "Deleted 2 ports from pool"
    assert answer["deleted_count"] == 2
    assert ports_of(pool) == [(NODE_IP, 1002, "tcp")]


def test_ipv6_addresses_work_everywhere(pool: Stack) -> None:
    assert add(pool, 25565, ip="2001:db8::7")["ip"] == "2001:db8::7"
    same = {"ip": "2001:0db8:0:0::7", "port": 25565}
    refused(pool.api("POST", "/network/ports", json=same), 400, EXISTS)
    assert accepted(pool.api("GET", "/network/ports/2001:db8::7/25565"))["in_use"] is False
    accepted(pool.api("PUT", "/network/ports/2001:db8::7/25565/use", json={"in_use": False}))
    accepted(pool.api("DELETE", "/network/ports/2001:db8::7/25565"))
    assert ports_of(pool) == []


def test_a_port_that_a_container_holds_can_be_neither_freed_nor_deleted(stack: Stack, servers: Servers) -> None:
    port = servers.port()
    container = servers.create(ports=[port])
    listed = accepted(stack.api("GET", "/network/ports?in_use=true"))["ports"]
    assert [(held["port"], held["internal_id"]) for held in listed] == [(port["port"], container)]
    refused(stack.api("PUT", f"{path_of(port)}/use", json={"in_use": False}), 409)
    refused(stack.api("DELETE", path_of(port)), 409)
    stack.api("POST", "/network/ports/bulk-delete", json={"ports": [{"ip": port["ip"], "port": port["port"]}]})
    assert servers.in_use(port)
    accepted(stack.api("DELETE", f"/containers/{container}"))
    assert not servers.in_use(port)
