"""How many transfers may be under way at once: they last as long as their clients like, and hold a thread each."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from fleet.errors import Unavailable

_LEAST_FOR_EACH = 3


class TransferSlots:
    """Three quarters of all threads, of which one volume gets a third. The others stay free for short calls."""

    def __init__(self, threads: int) -> None:
        self._most = max(threads * 3 // 4, 1)
        self._most_of_one = max(self._most // 3, _LEAST_FOR_EACH)
        self._taken: Counter[str] = Counter()
        self._changing = threading.Lock()

    @contextmanager
    def taken(self, volume_id: str) -> Iterator[None]:
        """Hold a slot; raises Unavailable at once when there is none, or the volume has its share."""
        with self._changing:
            if self._taken.total() >= self._most:
                raise _busy("This host has as many downloads and uploads under way as it serves at once")
            if self._taken[volume_id] >= self._most_of_one:
                raise _busy("This volume has as many downloads and uploads under way as its host gives to one")
            self._taken[volume_id] += 1
        try:
            yield
        finally:
            with self._changing:
                self._taken[volume_id] -= 1
                self._taken += Counter()  # forgets those without any


def _busy(reason: str) -> Unavailable:
    return Unavailable(f"{reason} (LIGHTD_FILES_THREADS); try again in a few seconds.", code="transfers_busy")
