"""One running container, measured again and again."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fleet.stats import Stats
from fleet.stats_series import Point
from worker.stats.cgroups import Usage, control_group_of
from worker.stats.network import network_bytes

_SHORTEST_SECONDS = 0.25
"""Over less than this a share of processor time means little."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """All counters at one moment (monotonic nanoseconds)."""

    at_ns: int
    usage: Usage
    received_bytes: int
    sent_bytes: int


class Measured:
    """A run of a container, by a process of it, until `close`. Raises NotVisible, or OSError when it is over."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._group = control_group_of(pid)
        try:
            self._before = self._read()
        except OSError:
            self.close()
            raise

    def measure(self, at: int, disk_used_bytes: int | None) -> tuple[Stats, Point] | None:
        """Its stats, and how they have risen since the last time, as the point of the second `at`.

        None when that was only just. Raises OSError when the run is over.
        """
        now, before = self._read(), self._before
        seconds = (now.at_ns - before.at_ns) / 1e9
        if seconds < _SHORTEST_SECONDS:
            return None
        self._before = now
        usage, was = now.usage, before.usage
        cpu_percent = max(usage.cpu_ns - was.cpu_ns, 0) / 1e7 / seconds
        stats = Stats(
            cpu_percent=round(cpu_percent, 1),
            memory_bytes=usage.memory_bytes,
            memory_limit_bytes=usage.memory_limit_bytes,
            network_rx_bytes=now.received_bytes,
            network_tx_bytes=now.sent_bytes,
            block_read_bytes=usage.block_read_bytes,
            block_write_bytes=usage.block_write_bytes,
            pids=usage.pids,
            disk_used_bytes=disk_used_bytes,
        )
        point = Point(
            at=at,
            cpu_percent=cpu_percent,
            memory_bytes=usage.memory_bytes,
            network_rx_per_second=int((now.received_bytes - before.received_bytes) / seconds),
            network_tx_per_second=int((now.sent_bytes - before.sent_bytes) / seconds),
            block_read_per_second=int((usage.block_read_bytes - was.block_read_bytes) / seconds),
            block_write_per_second=int((usage.block_write_bytes - was.block_write_bytes) / seconds),
            pids=usage.pids,
            disk_used_bytes=disk_used_bytes,
        )
        return stats, point

    def close(self) -> None:
        """Measure no more."""
        self._group.close()

    def _read(self) -> _Reading:
        """The control group first: it goes with the container, while the number of its process may come again."""
        at_ns = time.monotonic_ns()
        usage = self._group.read()
        received, sent = network_bytes(self._pid)
        return _Reading(at_ns, usage, received, sent)
