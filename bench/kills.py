"""How long a kill takes while eight installs run, against the raw engine's kill beside the same installs."""

from __future__ import annotations

import time
from statistics import median

import docker

from bench.figures import milliseconds, show
from bench.power import COMMAND, create_raw
from tests.support.servers import Servers
from tests.support.stack import Stack

INSTALLS = 8
ROUNDS = 20
SETTINGS = {"LIGHTD_LONG_THREADS": str(INSTALLS)}
_SCRIPT = "while true; do echo unpacking; head -c 200000 /dev/zero >> /home/container/$P_SERVER_ID; sleep 1; done"


def measure(engine: docker.DockerClient, stack: Stack) -> None:
    """Medians of 20, in turn: until the engine says that it has ended, and until clients are told so."""
    servers = Servers(stack)
    try:
        servers.volume(512)
        victim = servers.create(COMMAND)
        installs = [servers.ask("true", install_script=_SCRIPT).json()["internal_id"] for _ in range(INSTALLS)]
        for name in installs:
            with stack.socket(name) as socket:
                socket.wait_for_console("unpacking", seconds=60)
        raw, ours = [], []
        for number in range(ROUNDS):
            raw.append(_raw(engine, stack.network, number))
            ours.append(_through_lightd(stack, servers, victim))
        show("raw engine: kill until ended", milliseconds(raw))
        show("`kill` call until clients are told `exit`", milliseconds(ours), "raw + 60 ms")
        show("added", f"{(median(ours) - median(raw)) * 1000:.1f} ms", "60 ms")
        for name in installs:
            servers.act(name, "kill")
    finally:
        servers.clean()


def _raw(engine: docker.DockerClient, network: str, number: int) -> float:
    engine_id = create_raw(engine, network, f"lightd-bench-kill-{number}")
    try:
        engine.api.start(engine_id)
        time.sleep(0.5)
        begun = time.perf_counter()
        engine.api.kill(engine_id, "SIGKILL")
        engine.api.wait(engine_id)
        return time.perf_counter() - begun
    finally:
        engine.api.remove_container(engine_id, force=True)


def _through_lightd(stack: Stack, servers: Servers, name: str) -> float:
    with stack.socket(name) as socket:
        servers.act(name, "start")
        socket.wait_for_state("running")
        time.sleep(0.5)
        seen = len(socket.events)
        begun = time.perf_counter()
        servers.act(name, "kill")
        socket.wait_for_state("exit", start=seen)
        return time.perf_counter() - begun
