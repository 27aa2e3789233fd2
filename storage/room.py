"""What still fits into a volume whose size the kernel does not enforce."""

from __future__ import annotations

from fleet.errors import QuotaExceeded


class Room:
    """Counts bytes against what was free when the volume was opened."""

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes

    def take(self, size_bytes: int) -> None:
        """Use up `size_bytes`; raises QuotaExceeded when they do not fit."""
        if size_bytes > self.free_bytes:
            raise QuotaExceeded("The volume is full; delete something or make it larger.")
        self.free_bytes -= size_bytes
