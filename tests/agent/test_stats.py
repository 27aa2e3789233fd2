"""What a real agent tells of what real containers use."""

from __future__ import annotations

import contextlib
import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis

from fleet.keys import stats_channel
from fleet.lifecycle import Action, State
from fleet.stats import LastStats, decode_message
from tests.agent.bench import Bench
from tests.support.deadline import eventually

pytestmark = pytest.mark.engine

BURN = "while true; do true; done"


def last(host: Bench, name: str) -> LastStats:
    """The newest stats, once the volume was looked at too."""

    def look() -> LastStats | None:
        found = host.stats.last(host.id_of(name))
        return found if found and found.run == host.record(name).run and found.stats.disk_used_bytes else None

    found = eventually(look, within_seconds=10, what="stats of the current run")
    assert found is not None
    return found


def seconds_sampled(host: Bench, name: str) -> list[int]:
    return [point.at for point in host.stats.series(host.id_of(name), 10)[1]]


def kernel_files_open(host: Bench, name: str) -> list[str]:
    """What the agent has open of a container's control groups."""
    assert host.agent
    engine_id = host.record(name).container_id or ""
    found = []
    for link in Path(f"/proc/{host.agent.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            path = str(link.readlink())
            if engine_id in path and "cgroup" in path:
                found.append(path)
    return found


def test_a_running_container_is_measured_once_a_second(host: Bench) -> None:
    host.install("burning", f"dd if=/dev/zero of=big bs=1M count=3; {BURN}")
    host.do("burning", Action.START)
    stats = last(host, "burning").stats
    assert stats.memory_limit_bytes == 64 << 20
    assert 0 < stats.memory_bytes < 64 << 20
    assert stats.pids >= 2
    assert stats.network_rx_bytes >= 0
    assert (stats.disk_used_bytes or 0) >= 3 << 20

    def is_busy() -> bool:
        found = host.stats.last(host.id_of("burning"))
        return found is not None and found.stats.cpu_percent > 5

    eventually(is_busy, within_seconds=10, what="use of the processor")
    eventually(lambda: len(seconds_sampled(host, "burning")) >= 5, within_seconds=15, what="five points")
    points = host.stats.series(host.id_of("burning"), 10)[1]
    assert len({point.at for point in points}) == len(points)
    assert any(point.cpu_percent > 5 and point.memory_bytes > 0 for point in points)
    host.begin("burning", Action.KILL, "agent")


def test_an_idle_container_is_sampled_but_nobody_is_told_the_same_twice(host: Bench) -> None:
    host.install("idle", "exec sleep 600")
    events: list[dict[str, Any]] = []
    client = redis.Redis.from_url(host.settings.stream_address)
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(stats_channel(host.id_of("idle")))
    host.do("idle", Action.START)

    def was_quiet() -> bool:
        """Whether three samples went by without a message."""
        before = len(seconds_sampled(host, "idle"))
        heard = len(events)
        deadline = time.monotonic() + 60
        while len(seconds_sampled(host, "idle")) < before + 3 and time.monotonic() < deadline:
            message = listener.get_message(timeout=0.2)
            if message:
                events.append(json.loads(decode_message(message["data"])[1]))
        return len(events) == heard > 0

    eventually(was_quiet, within_seconds=60, what="three quiet seconds")
    for event in events:
        event.pop("uptime")
    assert all(one != other for one, other in pairwise(events))
    listener.close()
    client.close()


def test_the_last_stats_outlive_the_run_and_a_new_run_has_its_own(host: Bench) -> None:
    host.install("again", "exec sleep 600")
    host.do("again", Action.START)
    first = last(host, "again")
    assert kernel_files_open(host, "again")
    host.begin("again", Action.KILL, "agent")
    host.await_state("again", State.READY)
    kept = host.stats.last(host.id_of("again"))
    assert kept is not None and kept.run == first.run
    assert not host.record("again").is_in_run(kept.run)
    eventually(lambda: not kernel_files_open(host, "again"), within_seconds=10, what="the end of reading")
    host.do("again", Action.START)
    assert last(host, "again").run > first.run
    assert host.record("again").is_in_run(last(host, "again").run)


def test_a_new_agent_goes_on_measuring_what_runs(host: Bench) -> None:
    host.install("kept", "exec sleep 600")
    host.do("kept", Action.START)
    last(host, "kept")
    host.kill_agent()
    before = seconds_sampled(host, "kept")
    host.start_agent()
    eventually(lambda: len(seconds_sampled(host, "kept")) > len(before) + 2, within_seconds=15, what="more points")


def test_a_deleted_container_leaves_no_stats(host: Bench) -> None:
    host.install("gone", "exec sleep 600")
    host.do("gone", Action.START)
    last(host, "gone")
    name = host.id_of("gone")
    host.await_end(host.perform(host.begin("gone", Action.DELETE, deleting=True)))
    assert host.stats.last(name) is None
    assert host.stats.series(name, 10)[1] == []
