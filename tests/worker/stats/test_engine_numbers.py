"""What we read from the kernel against what the engine says of the same container.

The engine is asked before and after: counters only rise, so ours has to lie between its two answers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from docker.models.images import Image

from tests.support.deadline import eventually
from tests.support.images import BUSYBOX
from worker.stats.cgroups import Usage, control_group_of
from worker.stats.measuring import Measured
from worker.stats.network import network_bytes

pytestmark = pytest.mark.engine

PREPARE_THEN_BURN = """
dd if=/dev/zero of=/dev/shm/held bs=1M count=20
dd if=/dev/zero of=/written bs=1M count=8
dd if=/dev/zero of=/volume/direct bs=1M count=4 oflag=direct conv=fsync
dd if=/volume/direct of=/dev/null bs=1M iflag=direct
ping -c 3 -s 1000 $(ip route | awk '/default/ {print $3}')
echo prepared
while :; do :; done
"""
"""Holds memory, leaves file pages that nobody uses, passes by the page cache, uses the network; then only computes."""

_PAGES_BYTES = 32 * 4096
"""By how much the kernel lets its own figure of a group's memory be out of date on each processor."""

EngineStats = dict[str, Any]


@dataclass(frozen=True)
class Sandwich:
    """What the engine said, what we read, and what the engine said after that."""

    before: EngineStats
    usage: Usage
    network: tuple[int, int]
    after: EngineStats


@pytest.fixture(scope="module")
def busy(engine: docker.DockerClient, busybox_image: Image) -> Iterator[Container]:
    """A container that computes all the time, with half a processor."""
    container = engine.containers.run(
        BUSYBOX,
        ["/bin/sh", "-c", PREPARE_THEN_BURN],
        detach=True,
        nano_cpus=500_000_000,
        mem_limit="64m",
        pids_limit=32,
        volumes=["/volume"],
        device_write_bps=[{"Path": disk_of(engine), "Rate": 2**32}],  # else newer kernels do not count on version 1
    )
    try:
        eventually(lambda: b"prepared" in container.logs(), within_seconds=20, what="the preparation")
        container.reload()
        yield container
    finally:
        container.remove(force=True, v=True)


def disk_of(engine: docker.DockerClient) -> str:
    """The disk that the engine keeps its volumes on."""
    number = os.stat(engine.info()["DockerRootDir"]).st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    return f"/dev/{(device.parent if (device / 'partition').exists() else device).name}"


def ask(container: Container) -> EngineStats:
    stats: EngineStats = container.client.api.stats(container.id, stream=False, one_shot=True)
    return stats


def pid_of(container: Container) -> int:
    return int(container.attrs["State"]["Pid"])


def usage_of(container: Container) -> Usage:
    with closing(control_group_of(pid_of(container))) as group:
        return group.read()


def memory_as_docker_stats_shows_it(stats: EngineStats) -> int:
    memory = stats["memory_stats"]
    name = "total_inactive_file" if "total_inactive_file" in memory["stats"] else "inactive_file"
    return int(memory["usage"] - memory["stats"][name])


def block_bytes(stats: EngineStats, operation: str) -> int:
    rows = stats["blkio_stats"]["io_service_bytes_recursive"] or []
    return sum(row["value"] for row in rows if row["op"].lower() == operation)


def read_at(stats: EngineStats) -> float:
    whole, _, fraction = stats["read"].removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction}")


@pytest.fixture(scope="module")
def sandwich(busy: Container) -> Sandwich:
    """Our answer between two of the engine."""
    return Sandwich(ask(busy), usage_of(busy), network_bytes(pid_of(busy)), ask(busy))


def test_processor_time_is_the_engines(sandwich: Sandwich) -> None:
    before, after = (stats["cpu_stats"]["cpu_usage"]["total_usage"] for stats in (sandwich.before, sandwich.after))
    assert before <= sandwich.usage.cpu_ns <= after


def test_memory_is_counted_as_docker_stats_does(sandwich: Sandwich) -> None:
    theirs = sorted(memory_as_docker_stats_shows_it(stats) for stats in (sandwich.before, sandwich.after))
    assert theirs[0] - _PAGES_BYTES <= sandwich.usage.memory_bytes <= theirs[1] + _PAGES_BYTES
    assert sandwich.usage.memory_bytes > 20 * 2**20, "what it holds"
    assert sandwich.usage.memory_bytes < sandwich.after["memory_stats"]["usage"] - 4 * 2**20, "a file nobody reads"
    assert sandwich.usage.memory_limit_bytes == sandwich.after["memory_stats"]["limit"] == 64 * 2**20


def test_network_traffic_is_the_engines(sandwich: Sandwich) -> None:
    before, after = sandwich.before["networks"]["eth0"], sandwich.after["networks"]["eth0"]
    received, sent = sandwich.network
    assert before["rx_bytes"] <= received <= after["rx_bytes"]
    assert before["tx_bytes"] <= sent <= after["tx_bytes"]
    assert sent > 3000, "the pings"


@pytest.mark.parametrize("operation", ["read", "write"])
def test_disk_traffic_is_the_engines(sandwich: Sandwich, operation: str) -> None:
    usage = sandwich.usage
    ours = usage.block_read_bytes if operation == "read" else usage.block_write_bytes
    assert block_bytes(sandwich.before, operation) <= ours <= block_bytes(sandwich.after, operation)
    assert ours >= 4 * 2**20, "what passed by the page cache"


def test_the_number_of_processes_is_the_engines(sandwich: Sandwich) -> None:
    assert sandwich.usage.pids == sandwich.after["pids_stats"]["current"] == 1


def test_processor_use_of_a_busy_container_is_the_engines_within_three_points(busy: Container) -> None:
    """Both look at slightly different times, so on a machine with much else to do it may take a second look."""

    def difference() -> list[float]:
        before = ask(busy)
        with closing(Measured(pid_of(busy))) as measured:
            time.sleep(4)  # what is measured is this time itself
            found, after = measured.measure(0, None), ask(busy)
        assert found is not None
        spent = after["cpu_stats"]["cpu_usage"]["total_usage"] - before["cpu_stats"]["cpu_usage"]["total_usage"]
        theirs = 100 * spent / 1e9 / (read_at(after) - read_at(before))
        assert 0 < found[0].cpu_percent == pytest.approx(found[1].cpu_percent, abs=0.1)
        return [theirs] if abs(found[0].cpu_percent - theirs) <= 3 else []

    (theirs,) = eventually(difference, within_seconds=20, what="an agreement about the processor")
    assert theirs > 10


def test_a_container_without_a_limit_may_use_all_memory(engine: docker.DockerClient, busybox_image: Image) -> None:
    container = engine.containers.run(BUSYBOX, ["sleep", "600"], detach=True)
    try:
        container.reload()
        assert usage_of(container).memory_limit_bytes == ask(container)["memory_stats"]["limit"]
    finally:
        container.remove(force=True)


def test_the_end_of_a_container_is_noticed(engine: docker.DockerClient, busybox_image: Image) -> None:
    container = engine.containers.run(BUSYBOX, ["sleep", "600"], detach=True)
    try:
        container.reload()
        with closing(Measured(pid_of(container))) as measured:
            container.kill()
            container.wait()
            eventually(lambda: _is_over(measured), within_seconds=5, what="the end")
    finally:
        container.remove(force=True)


def _is_over(measured: Measured) -> bool:
    try:
        measured.measure(0, None)
    except OSError:
        return True
    return False
