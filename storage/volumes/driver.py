"""What a way of limiting a volume's size must be able to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from storage.room import Room

MEBIBYTE = 1024 * 1024
_BEYOND_BYTES = 10 * MEBIBYTE
_BEYOND_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a volume is. `used_bytes` and `available_bytes` leave out what the file system needs for itself."""

    size_mb: int
    used_bytes: int
    available_bytes: int

    @property
    def used_mb(self) -> float:
        """Used space in MB with two digits."""
        return round(self.used_bytes / MEBIBYTE, 2)

    @property
    def available_mb(self) -> float:
        """Space left in MB with two digits."""
        return round(self.available_bytes / MEBIBYTE, 2)

    @property
    def is_beyond(self) -> bool:
        """Whether clearly more is used than the volume's size, which only a plain folder lets happen."""
        size_bytes = self.size_mb * MEBIBYTE
        return self.used_bytes > size_bytes + max(_BEYOND_BYTES, _BEYOND_SHARE * size_bytes)

    @property
    def percentage_used(self) -> float:
        """Used space in percent of what can be used, with two digits."""
        usable = self.used_bytes + self.available_bytes
        return round(100 * self.used_bytes / usable, 2) if usable else 100.0


class QuotaDriver(Protocol):
    """Makes folders whose size is limited. Every step can be repeated; callers hold the volume's lock."""

    name: str

    def create(self, volume_id: str, size_mb: int) -> Path:
        """Make the volume from nothing and return its folder, ready for use; raises Conflict on a full disk."""

    def ensure_mounted(self, volume_id: str) -> Path:
        """Return the volume's folder, mounted when it was not; raises Unavailable when that fails."""

    def is_mounted(self, volume_id: str) -> bool:
        """Whether the folder can be used right now."""

    def holds(self, volume_id: str, fd: int) -> bool:
        """Whether the open folder is the volume itself, not the bare one that shows while it is unmounted."""

    def delete(self, volume_id: str) -> None:
        """Remove everything that `create` makes, as far as it exists."""

    def usage(self, volume_id: str, size_mb: int) -> Usage:
        """How full the volume is."""

    def resize(self, volume_id: str, old_mb: int, size_mb: int) -> None:
        """Change the size; raises Conflict when the content does not fit, or the volume is in use and would shrink."""

    def settle(self, volume_id: str, size_mb: int) -> int:
        """Finish a resize that a crash interrupted; the size in MB that the volume has now. It is mounted already."""

    def room(self, volume_id: str, size_mb: int) -> Room | None:
        """What this process must count while writing; None when the kernel does all of it."""
