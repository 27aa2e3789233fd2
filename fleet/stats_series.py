"""What a container used over time: a ring of points of fixed size in one string of the stream store.

A point's time decides on its slot and stands in it, so that one of an earlier round is known from a new one. Nothing
has to be trimmed, and a container never takes more room than its two rings.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

_POINT = struct.Struct("<If7I")
_KIBIBYTE = 1024
_LARGEST = 2**32 - 2
_UNKNOWN = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Point:
    """Averages over the step that begins at `at` (unix seconds). `disk_used_bytes` is None while it is unknown."""

    at: int
    cpu_percent: float
    memory_bytes: int
    network_rx_per_second: int
    network_tx_per_second: int
    block_read_per_second: int
    block_write_per_second: int
    pids: int
    disk_used_bytes: int | None


@dataclass(frozen=True, slots=True)
class Ring:
    """A ring of `slots` points, one every `step_seconds`, under the key called `key_name`."""

    key_name: str
    step_seconds: int
    slots: int

    @property
    def span_seconds(self) -> int:
        """How far back it reaches."""
        return self.step_seconds * self.slots

    def offset(self, point: Point) -> int:
        """Where in the string a point belongs, in bytes."""
        return point.at // self.step_seconds % self.slots * _POINT.size

    def points(self, content: bytes, after: int, until: int) -> list[Point]:
        """The points with `after` < `at` <= `until`, oldest first."""
        whole = content[: len(content) // _POINT.size * _POINT.size]
        found = [_unpacked(fields) for fields in _POINT.iter_unpack(whole) if after < fields[0] <= until]
        return sorted(found, key=lambda point: point.at)


SECONDS = Ring("stats_seconds", 1, 600)
MINUTES = Ring("stats_minutes", 60, 1440)


def packed(point: Point) -> bytes:
    """A point as it stands in a ring: 36 bytes, memory and disk in KiB."""
    disk = _UNKNOWN if point.disk_used_bytes is None else _bounded(point.disk_used_bytes // _KIBIBYTE)
    rates = (
        point.network_rx_per_second,
        point.network_tx_per_second,
        point.block_read_per_second,
        point.block_write_per_second,
    )
    return _POINT.pack(
        point.at,
        point.cpu_percent,
        _bounded(point.memory_bytes // _KIBIBYTE),
        *map(_bounded, rates),
        _bounded(point.pids),
        disk,
    )


def averaged(points: Iterable[Point], at: int) -> Point:
    """One point for several, of which there is at least one; what the disk held is that of the last."""
    rows = list(points)

    def mean(values: Iterable[float]) -> int:
        return round(sum(values) / len(rows))

    return Point(
        at=at,
        cpu_percent=sum(row.cpu_percent for row in rows) / len(rows),
        memory_bytes=mean(row.memory_bytes for row in rows),
        network_rx_per_second=mean(row.network_rx_per_second for row in rows),
        network_tx_per_second=mean(row.network_tx_per_second for row in rows),
        block_read_per_second=mean(row.block_read_per_second for row in rows),
        block_write_per_second=mean(row.block_write_per_second for row in rows),
        pids=mean(row.pids for row in rows),
        disk_used_bytes=rows[-1].disk_used_bytes,
    )


def _bounded(number: int) -> int:
    return min(max(number, 0), _LARGEST)


def _unpacked(fields: tuple[int, float, int, int, int, int, int, int, int]) -> Point:
    at, cpu_percent, memory, rx, tx, read, write, pids, disk = fields
    used = None if disk == _UNKNOWN else disk * _KIBIBYTE
    return Point(at, round(cpu_percent, 2), memory * _KIBIBYTE, rx, tx, read, write, pids, used)
