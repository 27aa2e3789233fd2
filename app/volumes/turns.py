"""Calls for one volume take turns here, where waiting costs next to nothing: a host has only so many threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fleet.errors import TooMany

_AT_ONCE = 8
_MOST_WAITING = 100
_PATIENCE_SECONDS = 30.0


@dataclass
class _Line:
    places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_AT_ONCE))
    present: int = 0


class Turns:
    """Whoever searches or copies large folders, many times at once, keeps the clients of other volumes from nothing."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._changing = threading.Lock()

    @contextmanager
    def taken(self, volume_id: str) -> Iterator[None]:
        """Hold one of a volume's turns; raises TooMany when too many wait for them already, or for too long."""
        line = self._joined(volume_id)
        try:
            if not line.places.acquire(timeout=_PATIENCE_SECONDS):
                raise _too_many()
            try:
                yield
            finally:
                line.places.release()
        finally:
            self._leave(volume_id, line)

    def _joined(self, volume_id: str) -> _Line:
        with self._changing:
            line = self._lines.setdefault(volume_id, _Line())
            if line.present >= _AT_ONCE + _MOST_WAITING:
                raise _too_many()
            line.present += 1
            return line

    def _leave(self, volume_id: str, line: _Line) -> None:
        with self._changing:
            line.present -= 1
            if not line.present:
                del self._lines[volume_id]


def _too_many() -> TooMany:
    return TooMany("Too many calls for this volume are under way; try again when some have ended.", code="volume_calls")
