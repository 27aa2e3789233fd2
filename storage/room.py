"""What still fits, where the kernel does not say so in time."""

from __future__ import annotations

from typing import Protocol

from fleet.errors import QuotaExceeded

_BLOCK_BYTES = 4096


class Room(Protocol):
    """Asked before every write."""

    @property
    def free_bytes(self) -> int:
        """How much more may be written now."""

    def take(self, size_bytes: int) -> None:
        """Use up `size_bytes`; raises QuotaExceeded or Conflict when they do not fit."""

    def close(self) -> None:
        """Nothing more is written."""


def take_one(room: Room | None) -> None:
    """One more file or folder: however little it holds, it takes a block of the disk."""
    if room:
        room.take(_BLOCK_BYTES)


class Count:
    """What is free in a volume, as it was last counted, and what its writers have taken since."""

    def __init__(self, free_bytes: int = 0) -> None:
        self.free_bytes = free_bytes
        self.rooms: set[CountedRoom] = set()

    def renew(self, free_bytes: int) -> None:
        """Begin anew. Nobody counts files that have no name yet, so what open rooms have taken is still to come."""
        self.free_bytes = free_bytes - sum(room.taken_bytes for room in list(self.rooms))

    def room(self) -> CountedRoom:
        """The room of one more writer, until it is closed."""
        room = CountedRoom(self)
        self.rooms.add(room)
        return room


class CountedRoom:
    """One writer's part in a Count. A Room."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self.taken_bytes = 0

    @property
    def free_bytes(self) -> int:
        """How much was free, without what was taken since by anybody."""
        return max(self._count.free_bytes, 0)

    def take(self, size_bytes: int) -> None:
        """Use up `size_bytes`; raises QuotaExceeded when they do not fit."""
        if size_bytes > self._count.free_bytes:
            raise QuotaExceeded("The volume is full; delete something or make it larger.")
        self._count.free_bytes -= size_bytes
        self.taken_bytes += size_bytes

    def close(self) -> None:
        """What was taken has its name by now, or is gone: the next count will tell."""
        self._count.rooms.discard(self)
