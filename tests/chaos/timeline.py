"""What happened in a run, in order: faults, calls and their answers."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable


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

    def about(self, sentences: Iterable[str]) -> str:
        """What happened to the containers that these sentences name, and all faults."""
        names = set(re.findall(r"\bc\d+-\d+\b", " ".join(sentences)))
        with self._lock:
            chosen = [line for line in self._lines if names & set(re.findall(r"c\d+-\d+", line)) or "  FAULT " in line]
        return "\n".join(chosen)

    @property
    def text(self) -> str:
        """The whole of it."""
        with self._lock:
            return "\n".join(self._lines)
