"""One container that floods: lines a second at a WebSocket client, against a raw read of the engine's log API."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection

import docker

from bench.figures import show
from bench.listeners import Heard, Listeners, Wanted
from bench.plots import Bars, save
from tests.support.images import DEBIAN
from tests.support.servers import Servers
from tests.support.stack import Stack
from worker.console.engine_http import open_stream

SETTINGS = {"LIGHTD_CONSOLE_LINES_PER_SECOND": "0"}
LINES = 600_000
ROUNDS = 3
COMMAND = f"sleep 2; seq -f '%.0f 0 a line of a server that has much to say, all of it at once' 0 {LINES - 1} | cat"
_ENGINE = "unix:///var/run/docker.sock"
_READ_BYTES = 1 << 18
_SECONDS = 120
_LIMITS = {"memory": 1 << 27, "cpu": 2.0}


def measure(engine: docker.DockerClient, stack: Stack) -> None:
    """Lines a second, in turn."""
    servers = Servers(stack)
    raw, ours = [], []
    try:
        for _ in range(ROUNDS):
            raw.append(_raw(engine))
            ours.append(_through_lightd(stack, servers))
    finally:
        servers.clean()
    for heard in ours:
        show("lines at the client, wrong ones among them", f"{heard.lines:,}, {heard.lines_wrong}", f"{LINES:,}, 0")
    rates = [heard.lines_per_second for heard in ours]
    show("raw read of the engine's log", _listed(raw))
    show("at a WebSocket client", _listed(rates))
    share = sum(rates) / sum(raw)
    show("share", f"{share:.0%}", "60 %")
    bars = [("engine's log, raw", sum(raw) / ROUNDS / 1000), ("WebSocket client", sum(rates) / ROUNDS / 1000)]
    save("flood", Bars("A container that floods", "thousand lines a second", bars, aim=0.6 * bars[0][1]))


def _listed(rates: list[float]) -> str:
    return f"{sum(rates) / len(rates):,.0f} lines/s ({', '.join(f'{rate:,.0f}' for rate in rates)})"


def _through_lightd(stack: Stack, servers: Servers) -> Heard:
    name = servers.create(COMMAND, image=DEBIAN, limits=_LIMITS)
    with Listeners(stack.address, [Wanted(f"/ws/{name}?token={stack.token}")]) as listeners:
        listeners.begin()
        servers.act(name, "start")
        stack.wait_for_state(name, "ready", _SECONDS)
        return listeners.end_when_quiet()


def _raw(engine: docker.DockerClient) -> float:
    """Lines a second that the engine tells with their stamps. The log is not rotated: the engine loses lines then."""
    made = engine.api.create_container(
        DEBIAN,
        ["/bin/sh", "-c", COMMAND],
        tty=True,
        stdin_open=True,
        host_config=engine.api.create_host_config(
            init=True, network_mode="none", log_config={"Type": "json-file", "Config": {}}
        ),
    )["Id"]
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    engine.api.start(made)
    reader = context.Process(target=_read_log, args=(made, theirs))
    reader.start()
    rate: float = ours.recv()
    reader.join()
    engine.api.remove_container(made, force=True)
    return rate


def _read_log(engine_id: str, pipe: Connection) -> None:
    path = f"/containers/{engine_id}/logs?follow=1&stdout=1&stderr=1&timestamps=1"
    connection = open_stream(_ENGINE, "GET", path, _SECONDS)
    stream = connection.getresponse()
    lines, first_at, last_at = 0, 0.0, 0.0
    while data := stream.read1(_READ_BYTES):
        last_at = time.time()
        first_at = first_at or last_at
        lines += data.count(b"\n")
    pipe.send(lines / (last_at - first_at))
    connection.close()
