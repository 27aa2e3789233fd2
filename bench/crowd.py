"""Many clients at once: create and start of 100 containers from 16 clients, against the raw engine with as many."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import mean
from typing import TypeVar

import docker

from bench.figures import show
from bench.power import COMMAND, create_raw
from tests.support.images import BUSYBOX
from tests.support.stack import Stack

CONTAINERS = 100
CLIENTS = 16
ROUNDS = 2
_CALM_SECONDS = 5
T = TypeVar("T")


def measure(engine: docker.DockerClient, stack: Stack) -> None:
    """Containers a second, in turn."""
    volume = stack.api("POST", "/volumes", json={"size": 64}).json()["volume_id"]
    rates: dict[str, list[float]] = {"raw engine": [], "through Lightd": []}
    for turn in range(ROUNDS):
        rates["raw engine"].append(_raw(stack.network, turn))
        rates["through Lightd"].append(_through_lightd(stack, volume, turn))
    for who, measured in rates.items():
        each = ", ".join(f"{rate:.2f}" for rate in measured)
        show(f"{who}: create and start", f"{mean(measured):.2f} containers/s ({each})")
    share = mean(rates["through Lightd"]) / mean(rates["raw engine"])
    show("share of the raw engine's rate", f"{share:.0%}", "75 %")


def _raw(network: str, turn: int) -> float:
    names = [f"lightd-bench-crowd-{turn}-{number}" for number in range(CONTAINERS)]
    clients = [docker.DockerClient() for _ in range(CLIENTS)]

    def create_and_start(numbered: tuple[int, str]) -> None:
        client = clients[numbered[0] % CLIENTS]
        client.api.start(create_raw(client, network, numbered[1]))

    rate = _rate(create_and_start, list(enumerate(names)))
    _all(lambda name: clients[0].api.remove_container(name, force=True), names)
    for client in clients:
        client.close()
    return rate


def _through_lightd(stack: Stack, volume: str, turn: int) -> float:
    names = [f"crowd-{turn}-{number}" for number in range(CONTAINERS)]

    def create_and_start(name: str) -> None:
        body = {
            "internal_id": name,
            "image": BUSYBOX,
            "volume_id": volume,
            "startup_command": COMMAND,
            "limits": {"memory": 1 << 26, "cpu": 1.0},
        }
        with stack.socket(name) as socket:
            stack.api("POST", "/containers", json=body).raise_for_status()
            socket.wait_for_state("installed", seconds=120)
            stack.api("POST", f"/containers/{name}/start").raise_for_status()
            socket.wait_for_state("running", seconds=120)

    rate = _rate(create_and_start, names)
    _all(lambda name: stack.api("DELETE", f"/containers/{name}", timeout=120).raise_for_status(), names)
    return rate


def _rate(work: Callable[[T], object], items: list[T]) -> float:
    time.sleep(_CALM_SECONDS)
    begun = time.perf_counter()
    _all(work, items)
    return len(items) / (time.perf_counter() - begun)


def _all(work: Callable[[T], object], items: list[T]) -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, items))
