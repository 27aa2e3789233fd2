"""What containers use: the last stats of each, told to watchers when they change, and a series for plots."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from fleet import messages
from fleet.keys import key, stats_channel
from fleet.stats_series import MINUTES, SECONDS, Point, Ring, packed
from fleet.store import Client

_LAST_SECONDS = 7 * 24 * 3600
_SPARE_SECONDS = 120
"""How much longer a ring is kept than it reaches back: its lifetime is renewed once a minute."""

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Stats:
    """What a container uses. Traffic counts from the start of its run; `cpu_percent` is 100 for each core."""

    cpu_percent: float
    memory_bytes: int
    memory_limit_bytes: int
    network_rx_bytes: int
    network_tx_bytes: int
    block_read_bytes: int
    block_write_bytes: int
    pids: int
    disk_used_bytes: int | None

    def shown(self, uptime_seconds: int | None) -> dict[str, float | int | None]:
        """The fields that clients see."""
        return {
            "cpu_usage": self.cpu_percent,
            "memory_usage": self.memory_bytes,
            "memory_limit": self.memory_limit_bytes,
            "network_rx": self.network_rx_bytes,
            "network_tx": self.network_tx_bytes,
            "block_read": self.block_read_bytes,
            "block_write": self.block_write_bytes,
            "uptime": uptime_seconds,
            "pids": self.pids,
            "disk_used": self.disk_used_bytes,
        }


NO_STATS: dict[str, None] = dict.fromkeys(Stats(0, 0, 0, 0, 0, 0, 0, 0, 0).shown(None))
"""What clients see of a container that never ran."""


@dataclass(frozen=True, slots=True)
class LastStats:
    """The newest stats of a container: of which run, and since when they are as they are (unix milliseconds)."""

    run: str
    changed_ms: int
    stats: Stats

    def uptime_seconds(self) -> int:
        """For how long the run goes on by now."""
        return max(int(time.time() - int(self.run) / _NANOSECONDS), 0)

    def message(self) -> str:
        """What watchers are told."""
        return messages.stats(self.stats.shown(self.uptime_seconds()))


@dataclass(frozen=True, slots=True)
class Report:
    """What an agent says of one container in one second.

    `is_news`: watchers have not been told these stats. `renews`: what is kept shall be kept for longer.
    """

    container_id: str
    last: LastStats
    second: Point
    is_news: bool
    renews: bool


class StatsStore:
    """The stats of all containers, in the stream store. `redis` answers in bytes."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis

    def write(self, reports: Sequence[Report]) -> None:
        """Keep and tell what agents report, in one round trip for all."""
        with self._redis.pipeline(transaction=False) as pipe:
            for report in reports:
                name, last = report.container_id, report.last
                if report.is_news or report.renews:
                    pipe.set(key("stats", name), json.dumps(asdict(last)), ex=_LAST_SECONDS)
                if report.is_news:
                    pipe.publish(stats_channel(name), f"{last.changed_ms} {last.message()}")
                _put(pipe, SECONDS, name, report.second)
                if report.renews:
                    _renew(pipe, SECONDS, name)
            pipe.execute()

    def write_minutes(self, points: Mapping[str, Point]) -> None:
        """Keep a minute of each of these containers, but for those that were deleted since then."""
        lasts = self._redis.mget([key("stats", name) for name in points])
        with self._redis.pipeline(transaction=False) as pipe:
            for (name, point), last in zip(points.items(), lasts, strict=True):
                if last is not None:
                    _put(pipe, MINUTES, name, point)
                    _renew(pipe, MINUTES, name)
            pipe.execute()

    def last(self, container_id: str) -> LastStats | None:
        """A container's newest stats, also after its run; None when it never ran, or not for a week."""
        value = self._redis.get(key("stats", container_id))
        if value is None:
            return None
        fields = json.loads(value)
        return LastStats(fields["run"], fields["changed_ms"], Stats(**fields["stats"]))

    def series(self, container_id: str, minutes: int) -> tuple[Ring, list[Point]]:
        """The points of the last minutes, oldest first, and the ring they are from: the finest that reaches back."""
        ring = SECONDS if minutes * 60 <= SECONDS.span_seconds else MINUTES
        content = self._redis.get(key(ring.key_name, container_id)) or b""
        now = int(time.time())
        return ring, ring.points(content, now - minutes * 60, now)

    def forget(self, container_id: str) -> None:
        """Drop everything of a deleted container."""
        names = ("stats", SECONDS.key_name, MINUTES.key_name)
        self._redis.delete(*(key(name, container_id) for name in names))


def decode_message(payload: bytes) -> tuple[int, str]:
    """A message of the stats channel: when it changed (unix milliseconds), and the text for watchers."""
    changed_ms, _, text = payload.partition(b" ")
    return int(changed_ms), text.decode()


def _put(pipe: Client, ring: Ring, container_id: str, point: Point) -> None:
    pipe.setrange(key(ring.key_name, container_id), ring.offset(point), packed(point))


def _renew(pipe: Client, ring: Ring, container_id: str) -> None:
    pipe.expire(key(ring.key_name, container_id), ring.span_seconds + _SPARE_SECONDS)
