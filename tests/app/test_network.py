"""The pool of ports."""

from __future__ import annotations

import pytest

from app.services import Services
from fleet.keys import key
from tests.app.conftest import Api


def hold(offered: Services, ip: str, port: int, protocol: str, container: str) -> None:
    """Let a container hold a port, as its creation does."""
    record = offered.stores.record
    record.hset(key("port", f"{ip}|{port}|{protocol}"), mapping={"internal_id": container, "in_use": "1"})
    record.srem(key("ports_free", protocol), f"{ip}|{port}|{protocol}")


def add(api: Api, ip: str = "0.0.0.0", port: int = 25565, **more: object) -> None:
    assert api.post("/network/ports", {"ip": ip, "port": port, **more}).status_code == 200


def test_a_port_is_added_and_found(api: Api) -> None:
    answer = api.post("/network/ports", {"ip": "0.0.0.0", "port": 25565, "protocol": "tcp"})
    assert answer.status_code == 200
    assert answer.json == {"message": "Port added to pool", "ip": "0.0.0.0", "port": 25565, "protocol": "tcp"}
    found = api.get("/network/ports/0.0.0.0/25565")
    assert found.json == {"ip": "0.0.0.0", "port": 25565, "protocol": "tcp", "in_use": False}


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ("0.0.0.0", "0.0.0.0", 400),
        ("0.0.0.0", "127.0.0.1", 400),
        ("127.0.0.1", "0.0.0.0", 400),
        ("127.0.0.1", "127.0.0.2", 200),
        ("::1", "0:0:0:0:0:0:0:1", 400),
        ("::", "::1", 400),
        ("::", "0.0.0.0", 200),
    ],
)
def test_a_port_is_in_the_pool_once(api: Api, first: str, second: str, status: int) -> None:
    add(api, first)
    answer = api.post("/network/ports", {"ip": second, "port": 25565})
    assert answer.status_code == status
    if status == 400:
        assert answer.json["error"] == "Port already exists in pool"


def test_the_same_number_may_be_there_for_both_protocols(api: Api) -> None:
    add(api)
    add(api, protocol="udp")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"ip": "localhost"}, "ip"),
        ({"ip": "1.2.3"}, "ip"),
        ({"ip": "1.2.3.4/24"}, "ip"),
        ({"ip": "fe80::1%eth0"}, "ip"),
        ({"ip": "::ffff:1.2.3.4"}, "ip"),
        ({"ip": 16843009}, "ip"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"protocol": "sctp"}, "protocol"),
        ({"protocol": None}, "protocol"),
        ({"node": "a b"}, "node"),
        ({"node": "n1\n"}, "node"),
    ],
)
def test_what_is_no_port_is_refused(api: Api, wrong: dict[str, object], field: str) -> None:
    answer = api.post("/network/ports", {"ip": "0.0.0.0", "port": 1, **wrong})
    assert answer.status_code == 400
    assert list(answer.json["fields"]) == [field]


def test_ipv6_addresses_work_everywhere(api: Api) -> None:
    add(api, "2001:DB8::0001", 443)
    path = "/network/ports/2001:db8::1/443"
    assert api.get(path).json["ip"] == "2001:db8::1"
    assert api.get("/network/ports/2001:db8:0::1/443").status_code == 200
    assert api.put(f"{path}/use", {"in_use": True}).json["ip"] == "2001:db8::1"
    assert api.delete(path).status_code == 200


def test_a_range_is_added_as_a_whole(api: Api) -> None:
    answer = api.post("/network/ports/bulk", {"ip": "0.0.0.0", "from": 27000, "to": 27099, "protocol": "udp"})
    assert answer.json == {"message": "Added 100 ports to pool", "added_count": 100}
    assert len(api.get("/network/ports?protocol=udp").json["ports"]) == 100


def test_a_range_that_touches_the_pool_adds_nothing(api: Api) -> None:
    add(api, port=105)
    answer = api.post("/network/ports/bulk", {"ip": "0.0.0.0", "from": 100, "to": 110, "protocol": "tcp"})
    assert answer.status_code == 400
    assert answer.json["error"] == "Port already exists in pool: 0.0.0.0:105"
    assert len(api.get("/network/ports").json["ports"]) == 1


@pytest.mark.parametrize(("first", "last"), [(10, 9), (1, 20_000), (0, 5), (1, 65536)])
def test_a_strange_range_is_refused(api: Api, first: int, last: int) -> None:
    answer = api.post("/network/ports/bulk", {"ip": "0.0.0.0", "from": first, "to": last})
    assert answer.status_code == 400
    assert set(answer.json["fields"]) <= {"from", "to"}


def test_the_list_names_holder_and_host(api: Api, offered: Services) -> None:
    add(api, port=1, node="n1")
    add(api, port=2)
    hold(offered, "0.0.0.0", 2, "tcp", "game")
    ports = api.get("/network/ports").json["ports"]
    assert ports == [
        {"ip": "0.0.0.0", "port": 1, "protocol": "tcp", "in_use": False, "internal_id": None, "node": "n1"},
        {"ip": "0.0.0.0", "port": 2, "protocol": "tcp", "in_use": True, "internal_id": "game", "node": None},
    ]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("in_use=true", [2]),
        ("in_use=false", [1, 3]),
        ("protocol=udp", [3]),
        ("node=n1", [1]),
        ("protocol=tcp&in_use=false", [1]),
        ("node=elsewhere", []),
    ],
)
def test_the_list_is_filtered(api: Api, offered: Services, query: str, numbers: list[int]) -> None:
    add(api, port=1, node="n1")
    add(api, port=2)
    add(api, port=3, protocol="udp")
    hold(offered, "0.0.0.0", 2, "tcp", "game")
    assert [port["port"] for port in api.get(f"/network/ports?{query}").json["ports"]] == numbers


@pytest.mark.parametrize("more", ["", "&protocol=tcp"])
def test_the_list_comes_in_pages_that_miss_and_repeat_nothing(api: Api, more: str) -> None:
    for protocol in ("tcp", "udp"):
        api.post("/network/ports/bulk", {"ip": "0.0.0.0", "from": 1000, "to": 1249, "protocol": protocol})
    found, cursor = [], ""
    while True:
        page = api.get(f"/network/ports?limit=100{cursor}{more}").json
        found += [(port["port"], port["protocol"]) for port in page["ports"]]
        if "next_cursor" not in page:
            break
        assert len(page["ports"]) == 100
        cursor = f"&cursor={page['next_cursor']}"
    assert len(found) == len(set(found)) == (250 if more else 500)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "cursor=%21", "cursor=gA", "in_use=maybe"])
def test_a_strange_query_is_refused(api: Api, query: str) -> None:
    answer = api.get(f"/network/ports?{query}")
    assert answer.status_code == 400
    assert list(answer.json["fields"]) == [query.split("=")[0]]


def test_a_random_port_is_free(api: Api, offered: Services) -> None:
    add(api, port=1)
    add(api, port=2)
    add(api, port=3, protocol="udp")
    hold(offered, "0.0.0.0", 1, "tcp", "game")
    assert api.get("/network/ports/random").json == {"ip": "0.0.0.0", "port": 2, "protocol": "tcp", "in_use": False}
    assert api.get("/network/ports/random?protocol=udp").json["port"] == 3
    hold(offered, "0.0.0.0", 2, "tcp", "game")
    assert api.get("/network/ports/random").json["port"] == 3


def test_a_random_port_can_be_asked_for_a_host(api: Api) -> None:
    add(api, port=1, node="n1")
    assert api.get("/network/ports/random?node=n1").json["port"] == 1
    assert api.get("/network/ports/random?node=n2").status_code == 404


def test_an_empty_pool_has_no_random_port(api: Api) -> None:
    answer = api.get("/network/ports/random")
    assert (answer.status_code, answer.json["error"]) == (404, "No available ports in pool")


def test_a_port_can_be_marked_as_used_from_outside(api: Api) -> None:
    add(api)
    path = "/network/ports/0.0.0.0/25565"
    answer = api.put(f"{path}/use", {"in_use": True})
    assert answer.json == {"message": "Port usage updated", "ip": "0.0.0.0", "port": 25565, "in_use": True}
    assert api.get(path).json["in_use"] is True
    assert api.get("/network/ports/random").status_code == 404
    api.put(f"{path}/use", {"in_use": False})
    assert api.get("/network/ports/random").status_code == 200


@pytest.mark.parametrize("body", [{}, {"in_use": 1}, {"in_use": "true"}, {"in_use": None}])
def test_a_mark_must_be_true_or_false(api: Api, body: object) -> None:
    add(api)
    assert api.put("/network/ports/0.0.0.0/25565/use", body).status_code == 400


def test_a_port_that_a_container_holds_can_be_neither_freed_nor_deleted(api: Api, offered: Services) -> None:
    add(api)
    hold(offered, "0.0.0.0", 25565, "tcp", "game")
    path = "/network/ports/0.0.0.0/25565"
    for answer in (api.put(f"{path}/use", {"in_use": False}), api.delete(path)):
        assert answer.status_code == 409
        assert answer.json["error"] == "The port is held by container game."


def test_a_port_is_deleted(api: Api) -> None:
    add(api)
    answer = api.delete("/network/ports/0.0.0.0/25565")
    assert (answer.status_code, answer.json) == (200, {"message": "Port deleted from pool"})
    assert api.delete("/network/ports/0.0.0.0/25565").status_code == 404


def test_many_ports_are_deleted_but_those_that_are_held(api: Api, offered: Services) -> None:
    for number in (1, 2, 3):
        add(api, port=number)
    hold(offered, "0.0.0.0", 3, "tcp", "game")
    wanted = [{"ip": "0.0.0.0", "port": number} for number in (1, 2, 2, 3, 4)]
    answer = api.post("/network/ports/bulk-delete", {"ports": wanted})
    assert answer.json == {"message": "Deleted 2 ports from pool", "deleted_count": 2}
    assert [port["port"] for port in api.get("/network/ports").json["ports"]] == [3]


def test_no_call_names_so_many_ports_that_it_holds_up_others(api: Api) -> None:
    wanted = [{"ip": "0.0.0.0", "port": 1, "protocol": "udp"}] * 10_001
    answer = api.post("/network/ports/bulk-delete", {"ports": wanted})
    assert (answer.status_code, list(answer.json["fields"])) == (400, ["ports"])
    assert api.post("/network/ports/bulk-delete", {"ports": wanted[:-1]}).status_code == 200


def test_a_bad_entry_of_many_is_named(api: Api) -> None:
    answer = api.post("/network/ports/bulk-delete", {"ports": [{"ip": "0.0.0.0", "port": 1}, {"ip": "x", "port": 2}]})
    assert answer.status_code == 400
    assert list(answer.json["fields"]) == ["ports.1.ip"]


@pytest.mark.parametrize("path", ["0.0.0.0/25565", "0.0.0.0/0", "0.0.0.0/99999999999", "0.0.0.0/x", "nowhere/1"])
def test_a_port_outside_the_pool_is_not_found(api: Api, path: str) -> None:
    for answer in (
        api.get(f"/network/ports/{path}"),
        api.delete(f"/network/ports/{path}"),
        api.put(f"/network/ports/{path}/use", {"in_use": True}),
    ):
        assert (answer.status_code, answer.json["error"]) == (404, "Port not found in pool")
