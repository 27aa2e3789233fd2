"""How often something may happen."""

from __future__ import annotations

import time


class RateLimit:
    """`per_second` times a second on average; what was not used before may be made up for within one second."""

    __slots__ = ("_at", "_left", "_per_second")

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._left = float(per_second)
        self._at = time.monotonic()

    def allows(self) -> bool:
        """Count one; whether it is within the limit."""
        now = time.monotonic()
        self._left = min(self._left + (now - self._at) * self._per_second, float(self._per_second))
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
