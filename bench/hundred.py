"""100 containers that print 20 lines a second each: to a client each, and all of it to each of 20 clients of `/ws`."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import docker

from bench.fanout import printing
from bench.figures import milliseconds, percentile, show
from bench.idle import processor_seconds
from bench.listeners import Heard, Listeners, Wanted
from bench.plots import Shares, save
from tests.support.images import DEBIAN
from tests.support.servers import Servers
from tests.support.stack import Stack

CONTAINERS = 100
RATE = 20
CLIENTS_OF_ALL = 20
SECONDS = 20
_SETTLING_SECONDS = 5
_FOR_EVER = 10**9
_ALL = json.dumps({"event": "subscribe", "containers": "*", "events": ["console"]})


def measure(engine: docker.DockerClient, stack: Stack) -> None:
    """Delay of each line, and what agent and API cost."""
    servers = Servers(stack)
    try:
        servers.volume(64)
        command = printing(RATE, _FOR_EVER)
        limits = {"memory": 1 << 26, "cpu": 0.5}
        with ThreadPoolExecutor(8) as pool:
            made = pool.map(lambda _: servers.run(command, image=DEBIAN, limits=limits), range(CONTAINERS))
            names = list(made)
        each = _listen(stack, [Wanted(f"/ws/{name}?token={stack.token}") for name in names], "a client each")
        show("a client each: delay, median (p99)", milliseconds(each.delays_seconds), "12 ms (60 ms)")
        show("a client each: delay, maximum", f"{percentile(each.delays_seconds, 100) * 1000:.1f} ms")
        of_all = _listen(stack, [Wanted(f"/ws?token={stack.token}", _ALL)] * CLIENTS_OF_ALL, "clients of all")
        show("clients of all: delay, median (p99)", milliseconds(of_all.delays_seconds))
        delays = {
            "a client for each container": [delay * 1000 for delay in each.delays_seconds],
            f"{CLIENTS_OF_ALL} clients, each of all containers": [delay * 1000 for delay in of_all.delays_seconds],
        }
        save("hundred", Shares(f"{CONTAINERS} containers, {RATE} lines/s each", delays, [(50, 12), (99, 60)]))
    finally:
        servers.clean()


def _listen(stack: Stack, wanted: list[Wanted], who: str) -> Heard:
    api, agent = stack.pid("api"), stack.pid("agent")
    with Listeners(stack.address, wanted) as listeners:
        time.sleep(_SETTLING_SECONDS)
        listeners.begin()
        begun_at, api_spent, agent_spent = time.monotonic(), processor_seconds(api), processor_seconds(agent)
        time.sleep(SECONDS)
        seconds = time.monotonic() - begun_at
        api_spent, agent_spent = processor_seconds(api) - api_spent, processor_seconds(agent) - agent_spent
        heard = listeners.end()
    show(f"{who}: lines/s at all clients", f"{heard.lines / seconds:,.0f}")
    show(f"{who}: wrong lines, closed sockets", f"{heard.lines_wrong}, {heard.closed}", "0, 0")
    show(f"{who}: agent", f"{agent_spent / seconds:.1%} of one core", "35 %")
    show(f"{who}: api", f"{api_spent / seconds:.1%} of one core")
    show(f"{who}: api per frame and client", f"{api_spent / heard.frames * 1e6:.1f} µs")
    return heard
