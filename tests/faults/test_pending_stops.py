"""A kill never waits behind stops, however many are pending."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import docker
import pytest

from tests.support.at_once import at_once
from tests.support.deadline import eventually
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.slow]

STOPS = 64
DEAF = "trap '' TERM; echo Ready; while true; do sleep 5; done"


def start_deaf(servers: Servers, number: int) -> str:
    return servers.run(DEAF, internal_id=f"pending-stop-{number}", start_pattern="Ready", stop_timeout=600)


def states(stack: Stack) -> dict[str, str]:
    listed = stack.api("GET", "/containers?limit=1000").json()["containers"]
    return {item["internal_id"]: item["state"] for item in listed}


@pytest.mark.timeout(300)
def test_a_kill_beside_sixty_four_pending_stops_waits_for_none_of_them(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    servers.volume()
    with ThreadPoolExecutor(8) as pool:
        deaf = list(pool.map(partial(start_deaf, servers), range(STOPS)))
    victim = servers.run("sleep 600")
    pid = engine.containers.get(f"lightd-{victim}").attrs["State"]["Pid"]
    at_once([partial(servers.act, container, "stop") for container in deaf])
    eventually(lambda: all(states(stack)[name] == "stopping" for name in deaf), within_seconds=30, what="64 stops")

    servers.act(victim, "kill")
    eventually(lambda: not Path(f"/proc/{pid}").exists(), within_seconds=5, what="the end of the process")
    assert all(states(stack)[name] == "stopping" for name in deaf), "no stop had to end first"
    stack.wait_for_state(victim, "ready", 10)
    for container in deaf:
        os.kill(engine.containers.get(f"lightd-{container}").attrs["State"]["Pid"], signal.SIGKILL)
    eventually(lambda: set(states(stack).values()) == {"ready"}, within_seconds=60, what="the end of all")
