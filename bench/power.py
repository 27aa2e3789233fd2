"""How much Lightd adds to the engine's own time for create and start, against the raw engine in the same run."""

from __future__ import annotations

import time
from statistics import median

import docker

from bench.figures import milliseconds, show
from tests.support.images import BUSYBOX
from tests.support.stack import Stack

ROUNDS = 20
COMMAND = "while true; do sleep 1; done"


def measure(engine: docker.DockerClient, stack: Stack) -> None:
    """Medians of 20: create and start through the raw engine, and through the whole stack."""
    raw_create, raw_start = [], []
    created, started = [], []
    for number in range(ROUNDS):
        create, start = _raw(engine, stack.network, number)
        raw_create.append(create)
        raw_start.append(start)
        create, start = _through_lightd(engine, stack, f"bench-{number}")
        created.append(create)
        started.append(start)
    show("raw engine: create", milliseconds(raw_create))
    show("API call to `installed` on the socket", milliseconds(created), "raw + 60 ms")
    show("added", f"{(median(created) - median(raw_create)) * 1000:.1f} ms", "60 ms")
    show("raw engine: start", milliseconds(raw_start))
    show("`start` call to process running", milliseconds(started), "raw + 40 ms")
    show("added", f"{(median(started) - median(raw_start)) * 1000:.1f} ms", "40 ms")


def _raw(engine: docker.DockerClient, network: str, number: int) -> tuple[float, float]:
    """Seconds that the engine takes for a container like ours."""
    begun = time.perf_counter()
    engine_id = create_raw(engine, network, f"lightd-bench-raw-{number}")
    create = time.perf_counter() - begun
    begun = time.perf_counter()
    engine.api.start(engine_id)
    start = time.perf_counter() - begun
    engine.api.remove_container(engine_id, force=True)
    return create, start


def create_raw(engine: docker.DockerClient, network: str, name: str) -> str:
    """A container like ours, made by the engine alone; its id."""
    config = engine.api.create_host_config(
        init=True,
        read_only=True,
        tmpfs={"/tmp": "size=64m"},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit="64m",
        memswap_limit="64m",
        nano_cpus=1_000_000_000,
        pids_limit=64,
        network_mode=network,
    )
    made = engine.api.create_container(
        BUSYBOX,
        ["/bin/sh", "-c", COMMAND],
        name=name,
        tty=True,
        stdin_open=True,
        user="1000:1000",
        host_config=config,
    )
    return str(made["Id"])


def _through_lightd(engine: docker.DockerClient, stack: Stack, name: str) -> tuple[float, float]:
    """Seconds from the call to `installed`, and from the `start` call to the process's own start."""
    volume = stack.api("POST", "/volumes", json={"size": 16}).json()["volume_id"]
    with stack.socket(name) as socket:
        begun = time.perf_counter()
        stack.api(
            "POST",
            "/containers",
            json={
                "internal_id": name,
                "image": BUSYBOX,
                "volume_id": volume,
                "startup_command": COMMAND,
                "limits": {"memory": 1 << 26, "cpu": 1.0},
            },
        ).raise_for_status()
        socket.wait_for_state("installed")
        create = time.perf_counter() - begun
        begun = time.perf_counter()
        stack.api("POST", f"/containers/{name}/start").raise_for_status()
        socket.wait_for_state("running")
        start = time.perf_counter() - begun
    stack.api("DELETE", f"/containers/{name}").raise_for_status()
    stack.api("DELETE", f"/volumes/{volume}").raise_for_status()
    return create, start
