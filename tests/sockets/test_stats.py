"""What watchers are told of what a container uses: the newest on connecting, then every change; of old news nothing."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import redis

from fleet.lifecycle import State
from fleet.stats import LastStats, Report, Stats
from fleet.stats_series import Point
from tests.sockets.conftest import Api
from tests.support.event_socket import EventSocket

STATS = Stats(12.5, 1000, 2000, 3, 4, 5, 6, 7, 8)
RUN = f"{time.time_ns():020d}"


class Sampled:
    """A container as its host's agent reports on it."""

    def __init__(self, api: Api, name: str) -> None:
        self._api = api
        self._name = name
        self._changed_ms = int(time.time() * 1000)

    def report(self, cpu_percent: float, *, is_news: bool = True) -> None:
        """Have the agent say how busy it is."""
        self._changed_ms += 1
        last = LastStats(RUN, self._changed_ms, replace(STATS, cpu_percent=cpu_percent))
        point = Point(self._changed_ms // 1000, cpu_percent, 0, 0, 0, 0, 0, 0, None)
        self._api.stats.write([Report(self._name, last, point, is_news=is_news, renews=False)])


@pytest.fixture
def sampled(api: Api, name: str) -> Sampled:
    return Sampled(api, name)


def told(socket: EventSocket) -> list[float]:
    return [event["cpu_usage"] for event in socket.events if event["event"] == "stats"]


def wait_for_stats(socket: EventSocket, cpu_percent: float) -> dict[str, Any]:
    return socket.wait_for(lambda event: event["event"] == "stats" and event["cpu_usage"] == cpu_percent)


def test_the_newest_stats_come_after_the_state(api: Api, name: str, sampled: Sampled) -> None:
    api.create(name)
    sampled.report(1)
    sampled.report(2)
    with api.socket(name) as socket:
        event = wait_for_stats(socket, 2)
        assert [event["event"] for event in socket.events] == ["event", "stats"]
    assert event.pop("uptime") >= 0
    assert event == {
        "event": "stats",
        "cpu_usage": 2,
        "memory_usage": 1000,
        "memory_limit": 2000,
        "network_rx": 3,
        "network_tx": 4,
        "block_read": 5,
        "block_write": 6,
        "pids": 7,
        "disk_used": 8,
    }


def test_they_come_before_what_was_printed_earlier(api: Api, name: str, sampled: Sampled) -> None:
    api.create(name)
    sampled.report(1)
    api.print(name, "old")
    with api.socket(name, since=0) as socket:
        socket.wait_for_console("old")
        assert [event["event"] for event in socket.events] == ["event", "stats", "console"]


@pytest.mark.parametrize("ended", [False, True], ids=["it does not run", "it runs anew"])
def test_stats_of_a_run_that_is_over_are_not_told(api: Api, name: str, sampled: Sampled, ended: bool) -> None:
    api.create(name, State.STARTING if ended else State.READY)
    if ended:
        api.redis.hset(f"lightd:container:{name}", "ended_run", RUN)
    sampled.report(1)
    with api.socket(name, since=0) as socket:
        api.print(name, "here")
        socket.wait_for_console("here")
        assert told(socket) == []
        sampled.report(2)
        wait_for_stats(socket, 2)


def test_every_watcher_is_told_of_every_change_and_of_nothing_else(api: Api, name: str, sampled: Sampled) -> None:
    api.create(name)
    sampled.report(1)
    with api.socket(name) as one, api.socket(name) as other:
        for socket in (one, other):
            wait_for_stats(socket, 1)
        for cpu_percent, is_news in ((2, True), (2, False), (3, True), (3, False)):
            sampled.report(cpu_percent, is_news=is_news)
        for socket in (one, other):
            wait_for_stats(socket, 3)
            assert told(socket) == [1, 2, 3]


def test_a_change_that_a_cut_connection_swallowed_is_told_when_it_is_back(
    api: Api, name: str, sampled: Sampled
) -> None:
    api.create(name)
    sampled.report(1)
    with redis.Redis.from_url(api.stream.url) as stream, api.socket(name) as socket:
        wait_for_stats(socket, 1)
        stream.client_kill_filter(_type="pubsub")
        sampled.report(2)
        wait_for_stats(socket, 2)
        sampled.report(3)
        wait_for_stats(socket, 3)
        assert told(socket) == [1, 2, 3]
