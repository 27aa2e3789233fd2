"""What the stream store keeps of what containers use."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis

from fleet.keys import key, stats_channel
from fleet.stats import LastStats, Report, Stats, StatsStore, decode_message
from fleet.stats_series import MINUTES, SECONDS, Point, averaged
from fleet.store import Client

STATS = Stats(12.5, 1000, 2000, 3, 4, 5, 6, 7, None)
RUN = f"{1_700_000_000_000_000_000:020d}"
POINT = Point(0, 12.5, 10 * 1024, 1, 2, 3, 4, 5, 20 * 1024)


@pytest.fixture
def raw(store: Client, store_url: str) -> Iterator[Client]:
    """A client with answers in bytes, of an empty store."""
    client = redis.Redis.from_url(store_url)
    yield client
    client.close()


@pytest.fixture
def kept(raw: Client) -> StatsStore:
    return StatsStore(raw)


def report(at: float, stats: Stats = STATS, *, is_news: bool = True, renews: bool = True) -> Report:
    return Report("c", LastStats(RUN, int(at * 1000), stats), replace(POINT, at=int(at)), is_news, renews)


def test_the_newest_stats_are_those_written_last(kept: StatsStore) -> None:
    assert kept.last("c") is None
    kept.write([report(1), report(2, replace(STATS, pids=8))])
    assert kept.last("c") == LastStats(RUN, 2000, replace(STATS, pids=8))


def test_watchers_are_told_news_and_nothing_else(kept: StatsStore, raw: Client) -> None:
    with raw.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(stats_channel("c"))
        assert listener.get_message(timeout=20) is None  # the confirmation
        kept.write([report(1)])
        kept.write([report(2, is_news=False)])
        kept.write([report(3, replace(STATS, pids=8))])
        told = []
        while len(told) < 2:
            message = listener.get_message(timeout=20)
            assert message is not None
            told.append(decode_message(message["data"]))
    assert [changed_ms for changed_ms, _ in told] == [1000, 3000]
    event = json.loads(told[1][1])
    assert event.pop("uptime") > 0
    assert event == {
        "event": "stats",
        "cpu_usage": 12.5,
        "memory_usage": 1000,
        "memory_limit": 2000,
        "network_rx": 3,
        "network_tx": 4,
        "block_read": 5,
        "block_write": 6,
        "pids": 8,
        "disk_used": None,
    }


def test_a_series_of_ten_minutes_has_a_point_for_each_second(kept: StatsStore) -> None:
    now = int(time.time())
    for at in range(now - 700, now - 2):  # the first hundred are overwritten, as their slots come again
        kept.write([report(at, is_news=False, renews=False)])
    ring, points = kept.series("c", 10)
    assert ring is SECONDS
    assert {now - 590, now - 300, now - 3} <= {point.at for point in points}
    assert [point.at for point in points] == list(range(points[0].at, now - 2))
    assert points[-1] == replace(POINT, at=now - 3)


def test_a_point_of_an_earlier_round_is_not_taken_for_a_new_one(kept: StatsStore) -> None:
    now = int(time.time())
    kept.write([report(now - 605), report(now - 100)])
    assert [point.at for point in kept.series("c", 10)[1]] == [now - 100]


def test_a_longer_series_has_a_point_for_each_minute(kept: StatsStore) -> None:
    minute = int(time.time()) // 60 * 60
    kept.write([report(minute)])
    for ago in (1500, 1000, 59, 2, 1):
        kept.write_minutes({"c": replace(POINT, at=minute - ago * 60)})
    ring, points = kept.series("c", 60)
    assert ring is MINUTES
    assert [point.at for point in points] == [minute - ago * 60 for ago in (59, 2, 1)]
    assert len(kept.series("c", 1440)[1]) == 4


def test_what_a_container_takes_is_bounded_and_goes_in_the_end(kept: StatsStore, raw: Client) -> None:
    for at in range(2000):
        kept.write([report(at, is_news=False, renews=at == 0)])
    for at in range(2000):
        kept.write_minutes({"c": replace(POINT, at=at * 60)})
    sizes = {ring.key_name: raw.strlen(key(ring.key_name, "c")) for ring in (SECONDS, MINUTES)}
    assert sizes == {"stats_seconds": 600 * 36, "stats_minutes": 1440 * 36}
    for name in ("stats", "stats_seconds", "stats_minutes"):
        assert raw.ttl(key(name, "c")) > 600, name


def test_a_deleted_container_leaves_nothing(kept: StatsStore, raw: Client) -> None:
    kept.write([report(time.time())])
    kept.write_minutes({"c": replace(POINT, at=60)})
    kept.forget("c")
    kept.write_minutes({"c": replace(POINT, at=120)})  # that its agent had not written yet
    assert raw.keys("lightd:stats*") == []


def test_a_minute_is_the_mean_of_its_seconds() -> None:
    points = [replace(POINT, at=60, cpu_percent=10, pids=1), replace(POINT, at=61, cpu_percent=30, pids=4)]
    assert averaged(points, 60) == replace(POINT, at=60, cpu_percent=20, pids=2)


def test_numbers_beyond_what_a_ring_holds_are_kept_as_the_largest(kept: StatsStore) -> None:
    now = int(time.time())
    huge = replace(POINT, at=now - 1, network_rx_per_second=2**40, disk_used_bytes=None)
    kept.write([replace(report(now), second=huge)])
    assert kept.series("c", 1)[1] == [replace(huge, network_rx_per_second=2**32 - 2)]
