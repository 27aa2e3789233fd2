"""What still fits, where the kernel does not say so in time."""

from __future__ import annotations

from typing import Protocol

from fleet.errors import QuotaExceeded


class Room(Protocol):
    """Asked before every write."""

    @property
    def free_bytes(self) -> int:
        """How much more may be written now."""

    def take(self, size_bytes: int) -> None:
        """Use up `size_bytes`; raises QuotaExceeded or Conflict when they do not fit."""


class CountedRoom:
    """Counts bytes against what was free when the volume was opened. A Room."""

    def __init__(self, free_bytes: int) -> None:
        self._free_bytes = free_bytes

    @property
    def free_bytes(self) -> int:
        """How much was free, without what was taken since."""
        return self._free_bytes

    def take(self, size_bytes: int) -> None:
        """Use up `size_bytes`; raises QuotaExceeded when they do not fit."""
        if size_bytes > self._free_bytes:
            raise QuotaExceeded("The volume is full; delete something or make it larger.")
        self._free_bytes -= size_bytes
