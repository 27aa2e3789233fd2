"""What a full host costs the agent: 300 containers known, 100 of them running and idle."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import docker

from bench.figures import show
from bench.idle import processor_seconds, pss_kb
from tests.support.servers import Servers
from tests.support.stack import Stack

KNOWN = 300
RUNNING = 100
_IDLE = "exec sleep 100000"
SECONDS = 30
_SETTLING_SECONDS = 15


def measure(engine: docker.DockerClient, stack: Stack) -> None:
    """The agent's share of one core, without and with containers; its memory."""
    before = _agent_percent(stack)
    servers = Servers(stack)
    try:
        servers.volume(64)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: servers.run(_IDLE), range(RUNNING)))
            list(pool.map(lambda _: servers.create(_IDLE), range(KNOWN - RUNNING)))
        with_all = _agent_percent(stack)
        show("agent, no containers", f"{before:.2f} % of one core")
        show(f"agent, {KNOWN} containers, {RUNNING} of them running", f"{with_all:.2f} % of one core", "4 %")
        show("its memory", f"{pss_kb(stack.pid('agent')) / 1024:.1f} MB", "120 MB")
        each_ms = (with_all - before) / 100 * 1000 / RUNNING
        show("a running container and second", f"{each_ms:.3f} ms")
    finally:
        servers.clean()


def _agent_percent(stack: Stack) -> float:
    time.sleep(_SETTLING_SECONDS)
    agent = stack.pid("agent")
    before = processor_seconds(agent)
    time.sleep(SECONDS)
    return (processor_seconds(agent) - before) / SECONDS * 100
