"""What happened in a run, in order: faults, calls and their answers."""

from __future__ import annotations

import threading
import time


class Timeline:
    """Notes with their second since the start. Any thread may write."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lines: list[str] = []
        self._wrong: list[str] = []
        self._lock = threading.Lock()

    def note(self, who: str, what: str) -> None:
        """Something happened."""
        with self._lock:
            self._lines.append(f"{self.seconds():7.2f}  {who:9} {what}")

    def wrong(self, sentence: str) -> None:
        """An answer on the way showed that a promise was broken."""
        self.note("WRONG", sentence)
        with self._lock:
            self._wrong.append(sentence)

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    @property
    def violations(self) -> list[str]:
        """All that `wrong` was told."""
        with self._lock:
            return list(self._wrong)

    @property
    def text(self) -> str:
        """The whole of it."""
        with self._lock:
            return "\n".join(self._lines)
