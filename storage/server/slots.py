"""How many transfers may be under way at once: they last as long as their clients like, and hold a thread each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fleet.errors import Unavailable


class TransferSlots:
    """Three quarters of all threads. The others stay free for calls that only take a moment."""

    def __init__(self, threads: int) -> None:
        self._free = threading.BoundedSemaphore(max(threads * 3 // 4, 1))

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a slot; raises Unavailable at once when there is none."""
        if not self._free.acquire(blocking=False):
            raise Unavailable(
                "This host has as many downloads and uploads under way as it serves at once (LIGHTD_FILES_THREADS); "
                "try again in a few seconds.",
                code="transfers_busy",
            )
        try:
            yield
        finally:
            self._free.release()
