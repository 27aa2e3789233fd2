"""Other ports for a container: taken and freed together or not at all, and nothing else changes."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import docker
import pytest
from docker.models.images import Image

from tests.support.answers import Answer, accepted, refused
from tests.support.deadline import eventually
from tests.support.images import DEBIAN
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine

ECHO_SERVER = "echo up; while true; do echo hello | nc -l -p $SERVER_PORT; done"
PACKAGE = """#!/bin/bash
set -e
mkdir -p package/DEBIAN package/usr/bin
cat > package/DEBIAN/control <<END
Package: game
Version: 1
Architecture: all
Maintainer: nobody <nobody@example.org>
Description: a game
END
printf '#!/bin/sh\\necho the game is installed\\n' > package/usr/bin/game
chmod 755 package/usr/bin/game
dpkg-deb --build package game.deb
apt-get install -y ./game.deb
rm -r package game.deb
echo saved > world
"""


def rebind(servers: Servers, container: str, *ports: Answer) -> Answer:
    """Ask for these ports and wait for the end of the job; the job."""
    answer = servers.act(container, "rebind-network", {"ports": list(ports)})
    assert (answer["message"], answer["internal_id"]) == ("Network rebinding started", container)
    return servers.stack.wait_for_job(answer["job_id"], 60)


def answers_on(port: Answer) -> bool:
    try:
        with socket.create_connection((port["ip"], port["port"]), timeout=2) as connection:
            return connection.recv(5) == b"hello"
    except OSError:
        return False


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Something else on the host that listens on a port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_a_running_server_answers_on_its_new_port_and_no_more_on_the_old_one(stack: Stack, servers: Servers) -> None:
    old, new = servers.port(), servers.port()
    container = servers.run(ECHO_SERVER, ports=[old], stop_timeout=1)
    eventually(lambda: answers_on(old), within_seconds=20, what="an answer on the old port")
    with stack.socket(container) as events:
        job = rebind(servers, container, new)
        assert job["state"] == "done", job
        events.wait_for_state("running")
        assert events.states()[-4:] == ["stopping", "exit", "starting", "running"]
    assert [(port["ip"], port["port"]) for port in job["result"]["ports"]] == [(new["ip"], new["port"])]
    eventually(lambda: answers_on(new), within_seconds=20, what="an answer on the new port")
    assert not answers_on(old)
    assert (servers.in_use(old), servers.in_use(new)) == (False, True)
    assert [port["port"] for port in servers.record(container)["ports"]] == [new["port"]]


def test_a_server_moves_from_an_ipv6_address_of_the_host_to_another_one(servers: Servers) -> None:
    old, new = servers.port(ip="::1"), servers.port()
    container = servers.run(ECHO_SERVER, ports=[old], stop_timeout=1)
    eventually(lambda: answers_on(old), within_seconds=20, what="an answer on the old port")
    job = rebind(servers, container, new)
    assert job["state"] == "done", job
    eventually(lambda: answers_on(new), within_seconds=20, what="an answer on the new port")
    assert not answers_on(old)
    assert (servers.in_use(old), servers.in_use(new)) == (False, True)


def test_of_several_ports_none_is_taken_when_the_engine_refuses_one(servers: Servers, listener: socket.socket) -> None:
    old, free, other = servers.port(), servers.port(), servers.port("udp")
    taken = {"ip": "127.0.0.1", "port": listener.getsockname()[1], "protocol": "tcp"}
    servers.offer(taken)
    container = servers.run(ECHO_SERVER, ports=[old])
    before = servers.record(container)
    job = rebind(servers, container, free, taken, other)
    assert job["state"] == "failed" and f"127.0.0.1:{taken['port']}" in job["error"]
    after = servers.record(container)
    assert [after[name] for name in ("started_at", "ports")] == [before[name] for name in ("started_at", "ports")]
    assert [servers.in_use(port) for port in (old, free, taken, other)] == [True, False, False, False]


def test_all_three_ways_to_name_a_port_work(servers: Servers, engine: docker.DockerClient) -> None:
    first, second, third = servers.port(), servers.port(), servers.port("udp")
    container = servers.create()
    wishes = [
        first,
        {"container_port": 80, "host_port": second["port"], "protocol": "tcp"},
        {"container_port": 53, "protocol": "udp"},
    ]
    assert rebind(servers, container, *wishes)["state"] == "done"
    bound = [(port["port"], port["container_port"]) for port in servers.record(container)["ports"]]
    assert bound == [(first["port"], first["port"]), (second["port"], 80), (third["port"], 53)]
    made = engine.containers.get(f"lightd-{container}").attrs["HostConfig"]["PortBindings"]
    assert made.keys() == {f"{first['port']}/tcp", "80/tcp", "53/udp"}
    assert servers.record(container)["state"] == "ready"


def test_packages_of_the_install_script_outlive_a_rebinding_but_no_reinstall_and_the_volume_both(
    stack: Stack, servers: Servers, debian_image: Image
) -> None:
    old, new = servers.port(), servers.port()
    command = "game || echo no game; cat world; read -r wait"
    limits = {"memory": 128 * 2**20, "cpu": 1}
    volume = servers.volume(32)["volume_id"]
    container = servers.create(
        command, image=DEBIAN, install_script=PACKAGE, ports=[old], volume_id=volume, limits=limits
    )
    assert rebind(servers, container, new)["state"] == "done"
    servers.act(container, "start")
    eventually(lambda: "saved" in servers.logs(container), within_seconds=30, what="the output")
    assert "the game is installed" in servers.logs(container)
    servers.act(container, "kill")
    stack.wait_for_state(container, "ready")
    job = servers.act(container, "reinstall", {"install_script": None})
    assert stack.wait_for_job(job["job_id"], 60)["state"] == "done"
    servers.act(container, "start")
    eventually(lambda: servers.logs(container).count("saved") == 2, within_seconds=30, what="the output")
    assert "no game" in servers.logs(container)
    assert [port["port"] for port in servers.record(container)["ports"]] == [new["port"]]


def test_a_port_that_something_else_uses_leaves_the_server_running_as_it_was(
    servers: Servers, listener: socket.socket, engine: docker.DockerClient
) -> None:
    old = servers.port()
    taken = {"ip": "127.0.0.1", "port": listener.getsockname()[1], "protocol": "tcp"}
    servers.offer(taken)
    container = servers.run(ECHO_SERVER, ports=[old])
    before = servers.record(container)
    job = rebind(servers, container, taken)
    assert job["state"] == "failed"
    assert f"127.0.0.1:{taken['port']}" in job["error"]
    after = servers.record(container)
    unchanged = ("state", "container_id", "started_at", "ports")
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}
    assert after["error"] == job["error"]
    eventually(lambda: answers_on(old), within_seconds=20, what="an answer on the old port")
    assert (servers.in_use(old), servers.in_use(taken)) == (True, False)
    assert [found.name for found in engine.containers.list(all=True, filters={"label": f"lightd.id={container}"})] == [
        f"lightd-{container}"
    ]


def test_a_port_of_another_container_is_409_and_nothing_changes(stack: Stack, servers: Servers) -> None:
    mine, theirs, free = servers.port(), servers.port(), servers.port()
    container = servers.create(ports=[mine])
    servers.create(ports=[theirs])
    refused(stack.api("POST", f"/containers/{container}/rebind-network", json={"ports": [free, theirs]}), 409)
    assert not servers.in_use(free)
    assert [port["port"] for port in servers.record(container)["ports"]] == [mine["port"]]


def test_while_it_installs_it_is_400(stack: Stack, servers: Servers) -> None:
    made = accepted(servers.ask(install_script="#!/bin/sh\nsleep 600"))
    answer = stack.api("POST", f"/containers/{made['internal_id']}/rebind-network", json={"ports": []})
    refused(answer, 400, "Cannot rebind network while container is installing")


def test_a_kill_ends_a_server_that_waits_for_its_end_and_the_old_port_stays(stack: Stack, servers: Servers) -> None:
    old, new = servers.port(), servers.port()
    container = servers.run("trap '' TERM; echo up; while true; do sleep 1; done", ports=[old], stop_timeout=600)
    eventually(lambda: "up" in servers.logs(container), within_seconds=20, what="the output")
    job = servers.act(container, "rebind-network", {"ports": [new]})
    stack.wait_for_state(container, "stopping")
    refused(stack.api("POST", f"/containers/{container}/stop"), 409)
    servers.act(container, "kill")
    assert stack.wait_for_job(job["job_id"])["state"] == "cancelled"
    assert servers.record(container)["state"] == "ready"
    assert (servers.in_use(old), servers.in_use(new)) == (True, False)
