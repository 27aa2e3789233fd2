"""What it costs the agent to measure containers: its processor time beside 100 that are idle."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import docker

from bench.figures import show
from bench.idle import processor_seconds
from tests.support.servers import Servers
from tests.support.stack import Stack

CONTAINERS = 100
SECONDS = 30
_SETTLING_SECONDS = 15


def measure(engine: docker.DockerClient, stack: Stack) -> None:
    """The agent's share of one core, without and with running containers."""
    before = _agent_percent(stack)
    servers = Servers(stack)
    try:
        servers.volume(64)
        with ThreadPoolExecutor(8) as pool:
            names = list(pool.map(lambda _: servers.run("exec sleep 100000"), range(CONTAINERS)))
        with_all = _agent_percent(stack)
        show("agent, nothing running", f"{before:.2f} % of one core")
        show(f"agent, {len(names)} idle containers", f"{with_all:.2f} % of one core", "4 %")
        each_ms = (with_all - before) / 100 * 1000 / len(names)
        show("a container and second", f"{each_ms:.3f} ms")
    finally:
        servers.clean()


def _agent_percent(stack: Stack) -> float:
    time.sleep(_SETTLING_SECONDS)
    agent = stack.pid("agent")
    before = processor_seconds(agent)
    time.sleep(SECONDS)
    return (processor_seconds(agent) - before) / SECONDS * 100
