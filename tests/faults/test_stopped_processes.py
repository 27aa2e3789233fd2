"""A process that stands still, or a host that is away for a while, holds up nobody else."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import docker
import pytest

from tests.support.answers import accepted, refused
from tests.support.deadline import eventually
from tests.support.leftovers import leftovers
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@contextmanager
def standing_still(stack: Stack, *names: str) -> Iterator[None]:
    """These processes do nothing meanwhile."""
    for name in names:
        stack.kill(name, signal.SIGSTOP)
    try:
        yield
    finally:
        for name in names:
            stack.kill(name, signal.SIGCONT)


def test_a_kill_ends_an_install_though_both_workers_stand_still(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    port = servers.port()
    made = accepted(servers.ask(ports=[port], install_script="#!/bin/sh\necho begun\nsleep 600"))
    container = made["internal_id"]
    eventually(lambda: "begun" in servers.logs(container), within_seconds=30, what="the install")
    script = engine.containers.get(f"lightd-{container}-install")
    with standing_still(stack, "long", "quick"):
        behind = accepted(servers.ask())
        killed = servers.act(container, "kill")
        assert stack.wait_for_job(killed["job_id"], 30)["state"] == "done"
        script.reload()
        assert script.status == "exited", "it was ended by the time the kill was told as done"
        assert accepted(stack.api("GET", f"/jobs/{behind['job_id']}"))["state"] == "queued"
    stack.wait_for_state(container, "failed")
    assert stack.wait_for_job(made["job_id"])["state"] == "cancelled"
    assert not servers.in_use(port)
    stack.wait_for_state(behind["internal_id"], "ready")


@pytest.mark.parametrize("how", ["kill", "cancel"])
def test_an_install_that_nobody_has_begun_ends_when_it_is_cancelled_though_no_install_goes_on(
    stack: Stack, servers: Servers, how: str
) -> None:
    port = servers.port()
    with standing_still(stack, "long"):
        made = accepted(servers.ask(ports=[port], install_script="#!/bin/sh\nsleep 600"))
        container = made["internal_id"]
        if how == "kill":
            servers.act(container, "kill")
        else:
            accepted(stack.api("POST", f"/jobs/{made['job_id']}/cancel"))
        assert stack.wait_for_job(made["job_id"])["state"] == "cancelled"
        assert servers.record(container)["state"] == "failed"
        assert not servers.in_use(port)


@pytest.mark.long
def test_what_was_deleted_by_force_goes_from_a_host_that_comes_back(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    port, volume = servers.port(), servers.volume()["volume_id"]
    before = set(leftovers(engine, stack.node, stack.data))
    script = "#!/bin/sh\ntouch /opt-made"
    container = servers.run(ports=[port], volume_id=volume, install_script=script)
    path = f"/containers/{container}"
    stack.kill("agent", signal.SIGSTOP)
    eventually(lambda: servers.record(container)["node_state"] == "offline", within_seconds=60, what="offline")
    refused(stack.api("DELETE", path), 503)
    accepted(stack.api("DELETE", f"{path}?force=true"))
    refused(stack.api("GET", path), 404)
    assert not servers.in_use(port)
    assert engine.containers.get(f"lightd-{container}").status == "running", "nobody is there to end it"
    stack.kill("agent")
    eventually(
        lambda: not set(leftovers(engine, stack.node, stack.data)) - before, within_seconds=60, what="the host's part"
    )
    answer = eventually(
        lambda: found if (found := stack.api("DELETE", f"/volumes/{volume}")).status_code != 503 else None,
        within_seconds=30,
        what="the host",
    )
    assert answer is not None and answer.status_code == 204
    refused(stack.api("GET", f"/volumes/{volume}"), 404)
