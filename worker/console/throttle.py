"""How much a console takes: a token bucket of lines (the usual algorithm), for each container its own."""

from __future__ import annotations

import time
from collections.abc import Callable

_BURST_SECONDS = 5
_OPEN_AGAIN_SECONDS = 1
_LINE_BYTES = 1000
"""What is longer counts as several lines."""


class Throttle:
    """Lets `lines_per_second` pass in the long run, and five times as many at once; 0 lets everything pass.

    Once it is shut it stays so until a second's worth may pass, so that output and notices alternate slowly.
    """

    def __init__(self, lines_per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = lines_per_second
        self._clock = clock
        self._room = float(lines_per_second * _BURST_SECONDS)
        self._at = clock()
        self._shut = False

    @property
    def is_shut(self) -> bool:
        """Whether nothing may pass now."""
        if self._shut:
            self._refill()
            self._shut = self._room < self._rate * _OPEN_AGAIN_SECONDS
        return self._shut

    def admits(self, data: bytes) -> bool:
        """Whether this output may pass; if so it is counted."""
        if not self._rate:
            return True
        if self.is_shut:
            return False
        self._refill()
        self._room -= max(data.count(b"\n"), -(-len(data) // _LINE_BYTES))
        self._shut = self._room <= 0
        return True

    def _refill(self) -> None:
        now = self._clock()
        self._room = min(self._room + (now - self._at) * self._rate, self._rate * _BURST_SECONDS)
        self._at = now
