"""Repair: after somebody meddled with the engine, the container is again what its record says."""

from __future__ import annotations

import subprocess

import docker
import pytest

from tests.support.answers import Answer, accepted, refused
from tests.support.deadline import eventually
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine


def repair(stack: Stack, container: str) -> Answer:
    answer = accepted(stack.api("POST", f"/containers/{container}/repair"))
    assert answer["internal_id"] == container
    job = stack.wait_for_job(answer["job_id"])
    told = {"repaired": answer["repaired"], "remaining": answer["remaining"]}
    assert (job["kind"], job["state"], job["result"]) == ("repair", "done", told)
    return answer


def test_a_whole_container_needs_nothing(stack: Stack, servers: Servers) -> None:
    container = servers.run(ports=[servers.port()], install_script="#!/bin/sh\ntouch /opt-made")
    before = servers.record(container)
    answer = repair(stack, container)
    assert (answer["message"], answer["repaired"], answer["remaining"]) == ("Nothing was to be repaired", [], [])
    after = servers.record(container)
    assert (after["state"], after["started_at"]) == ("running", before["started_at"])


def test_a_container_that_somebody_removed_is_made_again_as_it_was(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    port = servers.port()
    container = servers.create(
        "ls /opt-made; cat world",
        ports=[port],
        install_script="#!/bin/sh\ntouch /opt-made; echo saved > world",
    )
    engine.containers.get(f"lightd-{container}").remove(force=True)
    answer = repair(stack, container)
    assert answer["message"] == "Container repaired"
    assert answer["repaired"] == ["The engine had no container; it was made again."]
    found = engine.containers.get(f"lightd-{container}")
    assert found.id == servers.record(container)["container_id"]
    assert [at["HostPort"] for at in found.attrs["HostConfig"]["PortBindings"][f"{port['port']}/tcp"]] == [
        str(port["port"])
    ]
    servers.act(container, "start")
    eventually(lambda: "saved" in servers.logs(container), within_seconds=20, what="the output")
    assert "/opt-made" in servers.logs(container)


def test_limits_that_somebody_changed_are_put_right_while_the_server_runs(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    container = servers.run()
    before = servers.record(container)
    engine.containers.get(f"lightd-{container}").update(mem_limit="48m", memswap_limit="48m")
    assert repair(stack, container)["repaired"] == [
        "The container in the engine had other limits than the record; they are as recorded now."
    ]
    assert engine.containers.get(f"lightd-{container}").attrs["HostConfig"]["Memory"] == 32 * 2**20
    assert servers.record(container)["started_at"] == before["started_at"]


def test_a_server_that_somebody_paused_goes_on(stack: Stack, servers: Servers, engine: docker.DockerClient) -> None:
    container = servers.run()
    engine.containers.get(f"lightd-{container}").pause()
    assert repair(stack, container)["repaired"] == ["The container was paused in the engine; it goes on."]
    accepted(stack.api("POST", f"/containers/{container}/command", json={"command": "hello"}))
    eventually(lambda: "got hello" in servers.logs(container), within_seconds=20, what="the output")
    assert repair(stack, container)["repaired"] == []


def test_a_firewall_rule_that_somebody_removed_is_put_back(stack: Stack, servers: Servers) -> None:
    container = servers.create()
    chain = f"LIGHTD-{stack.network.upper()}"
    subprocess.run(["iptables", "-w", "-D", chain, "-j", "DROP"], check=True)
    assert repair(stack, container)["repaired"] == [
        "Rules of the host's firewall were missing; they are in place again."
    ]
    subprocess.run(["iptables", "-w", "-C", chain, "-j", "DROP"], check=True)


def test_an_image_that_lost_its_name_gets_it_back(stack: Stack, servers: Servers, engine: docker.DockerClient) -> None:
    container = servers.create(install_script="#!/bin/sh\ntouch /opt-made")
    image = f"lightd/{container}"
    engine.images.get(image).tag(f"lightd-test/{container}")
    engine.images.remove(image)
    assert repair(stack, container)["repaired"] == [
        "The private image was missing; it was made again from the container."
    ]
    assert engine.images.get(image)
    accepted(stack.api("DELETE", f"/containers/{container}"))
    engine.images.remove(f"lightd-test/{container}")


def test_a_repair_while_it_installs_is_409(stack: Stack, servers: Servers) -> None:
    made = accepted(servers.ask(install_script="#!/bin/sh\nsleep 600"))
    assert "installing" in refused(stack.api("POST", f"/containers/{made['internal_id']}/repair"), 409)["error"]


def test_an_unknown_container_cannot_be_repaired(stack: Stack) -> None:
    refused(stack.api("POST", "/containers/nobody/repair"), 404, "Container not found")
