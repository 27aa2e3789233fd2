"""Bodies that make no sense are refused with a sentence, and nothing comes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from docker.models.images import Image

from tests.support.answers import Answer, refused, refused_field
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine

VOLUME = "{volume}"
POSTS = [
    ("/auth/tokens", {"ttl": "1h"}),
    ("/volumes", {"size": 16}),
    (f"/volumes/{VOLUME}/files", {"path": "a", "content": "b"}),
    (f"/volumes/{VOLUME}/folders", {"path": "a"}),
    (f"/volumes/{VOLUME}/copy", {"source": "a", "destination": "b"}),
    ("/network/ports", {"ip": "127.0.0.1", "port": 9}),
    ("/network/ports/bulk", {"ip": "127.0.0.1", "from": 9, "to": 10, "protocol": "tcp"}),
    ("/network/ports/bulk-delete", {"ports": []}),
    ("/containers", {"internal_id": "bad-body"}),
]
NOT_JSON = [b"{", b"{'a': 1}", b'{"a": 1,}', b"\xff\xfe", b'{"a": NaN}', b"null x", b'"' + b"\\ud800" * 3]
MEANINGFUL: list[tuple[str, object]] = [("ports", []), ("size", None)]  # no ports to delete; the default size
NOT_AN_OBJECT = ["[]", '"text"', "5", "true", "null"]


@pytest.fixture(scope="module")
def made(stack: Stack, busybox_image: Image) -> Iterator[Servers]:
    """What the tests of this module share: one volume."""
    servers = Servers(stack)
    servers.volume()
    yield servers
    servers.clean()


@pytest.fixture(scope="module")
def container(made: Servers) -> Answer:
    """A valid body for `POST /containers`, to be spoiled."""
    return made.body(internal_id="bad-body")


@pytest.fixture(autouse=True)
def nothing_came_of_it(stack: Stack, made: Servers) -> Iterator[None]:
    """No container and no port is made by a refused body."""
    yield
    assert stack.api("GET", "/containers").json()["containers"] == []
    assert stack.api("GET", "/network/ports").json()["ports"] == []


def path_in(made: Servers, path: str) -> str:
    return path.replace(VOLUME, str(made.body()["volume_id"]))


@pytest.mark.parametrize(("path", "_"), POSTS)
def test_what_is_not_json_or_no_object_is_400(stack: Stack, made: Servers, path: str, _: Answer) -> None:
    for raw in [*NOT_JSON, *(text.encode() for text in NOT_AN_OBJECT if path != "/volumes" or text != "null")]:
        headers = {"Content-Type": "application/json"}
        refused(stack.api("POST", path_in(made, path), data=raw, headers=headers), 400)


@pytest.mark.parametrize(("path", "body"), POSTS)
def test_an_unknown_field_is_400_and_named(stack: Stack, made: Servers, path: str, body: Answer) -> None:
    refused_field(stack.api("POST", path_in(made, path), json={**body, "surprise": 1}), "surprise")


@pytest.mark.parametrize("wrong", [None, [], {}, 5.5, True], ids=str)
@pytest.mark.parametrize(("path", "body"), POSTS)
def test_a_mistyped_field_is_400_and_named(stack: Stack, made: Servers, path: str, body: Answer, wrong: object) -> None:
    for field in body:
        if (field, wrong) not in MEANINGFUL:
            answer = stack.api("POST", path_in(made, path), json={**body, field: wrong})
            refused_field(answer, field)


def test_json_that_is_nested_without_end_is_400(stack: Stack) -> None:
    headers = {"Content-Type": "application/json"}
    refused(stack.api("POST", "/containers", data=b"[" * 200_000, headers=headers), 400)
    deep = b'{"limits":' * 20_000 + b"1" + b"}" * 20_000
    refused(stack.api("POST", "/containers", data=deep, headers=headers), 400)


@pytest.mark.parametrize("size", [0, -1, 1, 10**9, 10**30, 1.5, "64", True])
def test_an_absurd_size_of_a_volume_is_400(stack: Stack, size: object) -> None:
    refused_field(stack.api("POST", "/volumes", json={"size": size}), "size")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limits.memory", -1),
        ("limits.memory", 0),
        ("limits.memory", 1),
        ("limits.memory", 1.5),
        ("limits.memory", "64m"),
        ("limits.cpu", -0.5),
        ("limits.cpu", 0),
        ("limits.cpu", "two"),
        ("limits.pids", -1),
        ("limits.pids", 0),
        ("limits.swap", -2),
        ("limits.io_weight", 0),
        ("limits.io_weight", 5000),
        ("limits.disk", 5),
        ("install_timeout", 0),
        ("install_timeout", -5),
        ("install_timeout", 10**9),
        ("stop_timeout", -1),
        ("stop_timeout", 10**9),
        ("stop_signal", "SIGNOTHING"),
        ("stop_signal", 99),
        ("pull_policy", "sometimes"),
        ("restart_policy", "maybe"),
        ("image", ""),
        ("image", "UPPER CASE:x y"),
        ("image", "../../etc"),
        ("image", "a" * 5000),
        ("startup_command", ""),
        ("startup_command", "nul \x00 byte"),
        ("startup_command", "x" * 10**6),
        ("install_script", "nul \x00 byte"),
        ("env", {"GOOD": 5}),
        ("env", {"A=B": "c"}),
        ("env", {"": "c"}),
        ("env", {"A": "nul \x00"}),
        ("env", ["A=b"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_absurd_value_is_400_and_named(made: Servers, container: Answer, field: str, value: object) -> None:
    body: dict[str, Any] = json.loads(json.dumps(container))
    outer, _, inner = field.partition(".")
    body[outer] = {inner: value} if inner else value
    answer = refused(made.post(body), 400)
    assert any(name == field or name.startswith(f"{field}.") for name in answer["fields"]), answer


@pytest.mark.parametrize("limits", [{"memory": 2**63}, {"memory": 10**40}, {"cpu": 1e308}], ids=str)
def test_a_limit_beyond_all_machines_is_400(made: Servers, container: Answer, limits: Answer) -> None:
    refused(made.post({**container, "limits": limits}), 400)


@pytest.mark.parametrize("volume", ["", "../../etc", "zzzzzzzz", "0" * 5000, "*", "d6764075\n"])
def test_what_is_no_id_of_a_volume_is_refused(made: Servers, container: Answer, volume: str) -> None:
    answer = made.post({**container, "volume_id": volume})
    refused(answer, answer.status_code)
    assert answer.status_code in (400, 404)


@pytest.mark.parametrize("pattern", ["(", "[a", "a**", "(?<!x)y", r"\1", "x{1000000}", "(?P<n", "x" * 100_000, "\\"])
def test_a_bad_pattern_is_400_and_named(made: Servers, container: Answer, pattern: str) -> None:
    refused_field(made.post({**container, "start_pattern": pattern}), "start_pattern")


@pytest.mark.parametrize("port", [0, -1, 65536, 10**20, 1.5, "25565", None, True, [25565]])
def test_a_bad_port_is_400_everywhere(stack: Stack, made: Servers, container: Answer, port: object) -> None:
    refused_field(stack.api("POST", "/network/ports", json={"ip": "127.0.0.1", "port": port}), "port")
    refused(made.post({**container, "ports": [{"ip": "127.0.0.1", "port": port}]}), 400)
    body = {"ports": [{"ip": "127.0.0.1", "port": port}]}
    refused(stack.api("POST", "/network/ports/bulk-delete", json=body), 400)


@pytest.mark.parametrize("port", ["0", "-1", "65536", "x", "%00", "1e3", "٣"])
def test_a_bad_port_in_the_path_is_refused(stack: Stack, port: str) -> None:
    for method, end in (("GET", ""), ("DELETE", ""), ("PUT", "/use")):
        body = {"in_use": True} if end else None
        answer = stack.api(method, f"/network/ports/127.0.0.1/{port}{end}", json=body)
        refused(answer, answer.status_code)
        assert answer.status_code in (400, 404)


@pytest.mark.parametrize(
    "ip", ["", "localhost", "256.0.0.1", "127.1", "1.2.3.4/24", "::g", "fe80::1%eth0", "127.0.0.1 ", 5]
)
def test_a_bad_address_is_400(stack: Stack, ip: object) -> None:
    refused_field(stack.api("POST", "/network/ports", json={"ip": ip, "port": 9}), "ip")
    refused(stack.api("POST", "/network/ports/bulk", json={"ip": ip, "from": 9, "to": 9, "protocol": "tcp"}), 400)


@pytest.mark.parametrize("protocol", ["", "TCP ", "icmp", "sctp", 6, None])
def test_a_bad_protocol_is_400(stack: Stack, protocol: object) -> None:
    body = {"ip": "127.0.0.1", "port": 9, "protocol": protocol}
    refused_field(stack.api("POST", "/network/ports", json=body), "protocol")


def test_a_range_of_more_ports_than_exist_is_400(stack: Stack) -> None:
    body = {"ip": "127.0.0.1", "from": 1, "to": 10**9, "protocol": "tcp"}
    refused(stack.api("POST", "/network/ports/bulk", json=body), 400)


def test_the_same_port_twice_in_one_container_is_400(made: Servers, container: Answer) -> None:
    port = {"ip": "127.0.0.1", "port": 9, "protocol": "tcp"}
    refused(made.post({**container, "ports": [port, port]}), 400)
