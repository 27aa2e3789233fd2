"""Changing a container without an install: its record and its limits, and lines for its process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import docker
import pytest

from tests.support import cgroups
from tests.support.answers import Answer, accepted, refused, refused_field
from tests.support.deadline import eventually
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine

MB = 2**20
SAYS_WHO = 'cat /etc/made 2>/dev/null; echo "I am $NAME"; while read -r line; do echo "got $line"; done'
HOLDS = "x=$(head -c 33554432 /dev/zero | tr '\\000' x); echo Holding; while read -r line; do echo \"got $line\"; done"


def patch(stack: Stack, container: str, changes: Answer) -> Answer:
    return accepted(stack.api("PATCH", f"/containers/{container}", json=changes))


def limit(stack: Stack, container: str, limits: Answer) -> Answer:
    return accepted(stack.api("POST", f"/containers/{container}/resources", json=limits))


def resources(stack: Stack, container: str) -> Answer:
    return accepted(stack.api("GET", f"/containers/{container}/resources"))


def process_id(engine: docker.DockerClient, container: str) -> int:
    return int(engine.containers.get(f"lightd-{container}").attrs["State"]["Pid"])


def test_a_change_is_seen_by_the_next_process_and_keeps_what_the_install_left(stack: Stack, servers: Servers) -> None:
    script = "#!/bin/sh\necho made by the install > /etc/made"
    container = servers.run(SAYS_WHO, env={"NAME": "one"}, install_script=script)
    eventually(lambda: "I am one" in servers.logs(container), within_seconds=30, what="the first run")
    changed = patch(stack, container, {"env": {"NAME": "two"}, "labels": {"team": "red"}, "stop_timeout": 1})
    assert (changed["state"], changed["env"], changed["restart_needed"]) == ("running", {"NAME": "two"}, True)
    servers.act(container, "restart")
    eventually(lambda: "I am two" in servers.logs(container), within_seconds=30, what="the second run")
    assert servers.logs(container).count("made by the install") == 2
    after = servers.record(container)
    assert (after["restart_needed"], after["labels"], after["stop_timeout"]) == (False, {"team": "red"}, 1)
    assert after["container_id"] != changed["container_id"]
    found = accepted(stack.api("GET", "/containers?label=team=red&state=running"))["containers"]
    assert [one["internal_id"] for one in found] == [container]


def test_what_only_lightd_looks_at_needs_no_restart(stack: Stack, servers: Servers) -> None:
    container = servers.run("trap '' TERM; trap 'echo int; exit 9' INT; echo Ready; while true; do sleep 0.1; done",
                            start_pattern="Ready", stop_timeout=600)  # fmt: skip
    assert patch(stack, container, {"stop_signal": "SIGINT", "start_pattern": None})["restart_needed"] is False
    servers.act(container, "stop")
    assert stack.wait_for_state(container, "ready")["exit_code"] == 9


def test_limits_change_while_it_runs(stack: Stack, servers: Servers, engine: docker.DockerClient) -> None:
    container = servers.run(HOLDS, start_pattern="Holding", limits={"memory": 128 * MB, "cpu": 0.5, "pids": 32})
    process, before = process_id(engine, container), servers.record(container)
    for memory, swap in ((192, 0), (64, 64), (256, 0), (128, 32), (64, 0)):
        wanted = {"memory": memory * MB, "swap": swap * MB}
        assert limit(stack, container, wanted)["limits"] == {**before["limits"], **wanted}
        assert (cgroups.memory_limit(process), cgroups.swap_limit(process)) == (memory * MB, swap * MB)
    limit(stack, container, {"cpu": 0.25, "pids": 20, "io_weight": 200})
    assert (cgroups.cores(process), cgroups.pids_limit(process)) == (0.25, 20)
    limits = {"memory": 64 * MB, "swap": 0, "cpu": 0.25, "pids": 20, "io_weight": 200}
    after = servers.record(container)
    assert (after["limits"], after["state"], after["started_at"]) == (limits, "running", before["started_at"])
    assert after["job_id"] == before["job_id"]
    assert process_id(engine, container) == process
    assert resources(stack, container)["limits"] == limits
    used = eventually(lambda: resources(stack, container)["usage"], within_seconds=30, what="the use")
    assert 32 * MB <= used["memory"] <= 64 * MB
    assert 1 <= used["pids"] <= 20


def test_less_than_it_uses_is_refused_and_changes_nothing(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    container = servers.run(HOLDS, start_pattern="Holding", limits={"memory": 96 * MB, "cpu": 0.5})
    address = f"/containers/{container}/resources"
    for limits in ({"memory": 16 * MB, "cpu": 0.1}, {"pids": 1, "cpu": 0.1}):
        body = refused(stack.api("POST", address, json=limits), 409)
        assert body["code"] == "below_use"
        assert any(character.isdigit() for character in body["error"])
    refused_field(stack.api("POST", address, json={"memory": 2**50}), "memory")
    process = process_id(engine, container)
    assert (cgroups.memory_limit(process), cgroups.cores(process)) == (96 * MB, 0.5)
    assert servers.record(container)["limits"]["memory"] == 96 * MB


def test_limits_of_a_stopped_container_hold_when_it_starts(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    container = servers.create('echo "memory $SERVER_MEMORY"; sleep 600')
    limit(stack, container, {"memory": 48 * MB, "swap": 16 * MB, "pids": 40})
    settings = engine.containers.get(f"lightd-{container}").attrs["HostConfig"]
    assert (settings["Memory"], settings["MemorySwap"], settings["PidsLimit"]) == (48 * MB, 64 * MB, 40)
    assert resources(stack, container)["usage"] is None
    servers.act(container, "start")
    eventually(lambda: "memory 48" in servers.logs(container), within_seconds=30, what="the output")
    process = process_id(engine, container)
    assert (cgroups.memory_limit(process), cgroups.swap_limit(process)) == (48 * MB, 16 * MB)


def test_an_installing_container_cannot_be_changed(stack: Stack, servers: Servers) -> None:
    container = accepted(servers.ask(install_script="#!/bin/sh\nsleep 600"))["internal_id"]
    refused(stack.api("PATCH", f"/containers/{container}", json={"env": {}}), 409)
    refused(stack.api("POST", f"/containers/{container}/resources", json={"pids": 50}), 409)


def test_commands_reach_the_process_in_their_order(stack: Stack, servers: Servers) -> None:
    container = servers.run()
    for number in range(5):
        answer = accepted(stack.api("POST", f"/containers/{container}/command", json={"command": f"say {number}"}))
        assert answer == {"message": "Command sent", "internal_id": container}
    eventually(lambda: "got say 4" in servers.logs(container), within_seconds=30, what="the last one")
    got = [line for line in servers.logs(container).replace("\r", "").splitlines() if line.startswith("got")]
    assert got == [f"got say {number}" for number in range(5)]


def test_a_command_is_taken_as_soon_as_the_api_says_starting(stack: Stack, servers: Servers) -> None:
    containers = [servers.create("read -r go; echo Go $go", start_pattern="Go") for _ in range(4)]

    def start(container: str) -> None:
        servers.act(container, "start")
        accepted(stack.api("POST", f"/containers/{container}/command", json={"command": "now"}))

    with ThreadPoolExecutor(len(containers)) as pool:
        list(pool.map(start, containers))
    for container in containers:
        eventually(lambda name=container: "Go now" in servers.logs(name), within_seconds=30, what="the line")


def test_a_command_for_a_container_at_rest_is_409(stack: Stack, servers: Servers) -> None:
    refused(stack.api("POST", f"/containers/{servers.create()}/command", json={"command": "hello"}), 409)
