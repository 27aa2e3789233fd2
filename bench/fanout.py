"""1,000 WebSocket clients on one container that prints 50 lines a second, with one API process and with two."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import docker

from bench.figures import milliseconds, percentile, show
from bench.idle import processor_seconds, pss_kb, tree
from bench.listeners import Heard, Listeners, Wanted
from bench.plots import Shares, save
from tests.support.images import DEBIAN
from tests.support.servers import Servers
from tests.support.stack import Stack, running_stack

SETTINGS = {"LIGHTD_API_WORKERS": "1"}
CLIENTS = 1000
RATE = 50
SECONDS = 20


def printing(rate: int, lines: int) -> str:
    """A program that prints so many lines a second, numbered and stamped, and starts no process for it."""
    loop = f"for ((i = 0; i < {lines}; i++)); do echo $i $EPOCHREALTIME; read -t {1 / rate:.4f} -u 9; done"
    return f"mkfifo /tmp/never; exec bash -c 'exec 9<> /tmp/never; sleep 2; {loop}'"


@dataclass(frozen=True)
class _Run:
    heard: Heard
    each_us: float
    socket_kb: float


def measure(engine: docker.DockerClient, stack: Stack) -> None:
    """Delay of each line at each client, processor time of the API per frame, memory per socket."""
    one = _watched_by_all(stack)
    _show("one API process", one)
    with _two_processes(engine) as other:
        two = _watched_by_all(other)
    _show("two API processes", two)
    show("processor time per frame with two against one", f"{two.each_us / one.each_us - 1:+.0%}", "+15 %")
    delays = {
        name: [delay * 1000 for delay in run.heard.delays_seconds]
        for name, run in (("one API process", one), ("two API processes", two))
    }
    save("fanout", Shares(f"{CLIENTS:,} clients on one container, {RATE} lines/s", delays, [(99, 150)]))


def _show(who: str, run: _Run) -> None:
    heard, expected = run.heard, CLIENTS * RATE * SECONDS
    show(f"{who}: lines, wrong, closed", f"{heard.lines:,}, {heard.lines_wrong}, {heard.closed}", f"{expected:,}, 0, 0")
    show(f"{who}: delay, median (p99)", milliseconds(heard.delays_seconds), "(150 ms)")
    show(f"{who}: delay, maximum", f"{percentile(heard.delays_seconds, 100) * 1000:.1f} ms")
    show(f"{who}: lines in a frame", f"{heard.lines / heard.frames:.2f}")
    show(f"{who}: processor time per frame and client", f"{run.each_us:.1f} µs", "25 µs")
    show(f"{who}: memory per socket", f"{run.socket_kb:.1f} KB", "60 KB")


@contextmanager
def _two_processes(engine: docker.DockerClient) -> Iterator[Stack]:
    stacks = running_stack(engine, LIGHTD_API_WORKERS="2")
    yield next(stacks)
    for _ in stacks:
        raise AssertionError("one stack a measurement")


def _watched_by_all(stack: Stack) -> _Run:
    servers = Servers(stack)
    try:
        name = servers.create(printing(RATE, RATE * SECONDS), image=DEBIAN, limits={"memory": 1 << 26, "cpu": 1.0})
        api = stack.pid("api")
        memory = _memory_kb(api)
        with Listeners(stack.address, [Wanted(f"/ws/{name}?token={stack.token}")] * CLIENTS) as listeners:
            listeners.begin()
            spent = processor_seconds(api)
            servers.act(name, "start")
            time.sleep(SECONDS * 1.1 + 2)  # asking for its state would cost the API more than a frame
            stack.wait_for_state(name, "ready", SECONDS * 2)
            spent = processor_seconds(api) - spent
            memory = _memory_kb(api) - memory
            heard = listeners.end_when_quiet()
        return _Run(heard, spent / heard.frames * 1e6, memory / CLIENTS)
    finally:
        servers.clean()


def _memory_kb(pid: int) -> int:
    return sum(pss_kb(process) for process in tree(pid))
