"""A client that wants every line of a console, over as many connections as that takes."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from tests.support.deadline import eventually
from tests.support.event_socket import EventSocket

Connect = Callable[[int], EventSocket]
"""Opens a socket that replays what came after this seq."""

_TOO_LONG_SECONDS = 150
_PAUSE_SECONDS = 0.1
_LOOK_SECONDS = 0.02


class Watcher(threading.Thread):
    """Collects `text`; goes on after the last seq it has. With `stays_seconds` it leaves about that often by itself.

    It ends when it has `goal` characters, or when that takes far too long. `complaints` are the gaps it was told of.
    """

    def __init__(self, connect: Connect, stays_seconds: float | None = None) -> None:
        super().__init__(daemon=True)
        self.connections = 0
        self.complaints: list[str] = []
        self.goal: int | None = None
        self.characters = 0
        self._connect = connect
        self._stays_seconds = stays_seconds
        self._parts: list[str] = []
        self._seq = 0
        self._ends_at = time.monotonic() + _TOO_LONG_SECONDS
        self._over = threading.Event()

    @property
    def text(self) -> str:
        """All output it got, in the order in which it came."""
        return "".join(self._parts)

    def run(self) -> None:
        while self._goes_on():
            try:
                socket = self._connect(self._seq)
            except Exception:  # noqa: BLE001 (refused or cut off during an outage: again)
                self._over.wait(_PAUSE_SECONDS)
                continue
            self.connections += 1
            with socket:
                self._watch(socket)

    def give_up(self) -> None:
        """End without the rest."""
        self._over.set()

    def _watch(self, socket: EventSocket) -> None:
        stays = random.uniform(0.2, 2) * self._stays_seconds if self._stays_seconds else _TOO_LONG_SECONDS
        leaves_at = time.monotonic() + stays
        seen = 0
        while time.monotonic() < leaves_at and self._goes_on() and not socket.has_ended:
            self._over.wait(_LOOK_SECONDS)
            seen = self._take(socket, seen)
        socket.close()
        self._take(socket, seen)

    def _take(self, socket: EventSocket, seen: int) -> int:
        events = socket.events[seen:]
        for event in events:
            if event["event"] == "console":
                self._parts.append(event["data"])
                self.characters += len(event["data"])
                self._seq = event["seq"]
            elif event["event"] == "daemon_message" and "lost" in event["data"]:
                self.complaints.append(event["data"])
        return seen + len(events)

    def _goes_on(self) -> bool:
        is_done = self.goal is not None and self.characters >= self.goal
        return not is_done and not self._over.is_set() and time.monotonic() < self._ends_at


def twenty_watchers(connect: Connect) -> list[Watcher]:
    """Twenty that are watching already; every second one leaves about once a second and comes back."""
    watchers = [Watcher(connect, 1.0 if number % 2 else None) for number in range(20)]
    for watcher in watchers:
        watcher.start()
    return watchers


def wait_for_more(watchers: list[Watcher], characters: int) -> None:
    """Until every watcher has got so much more."""
    goals = [watcher.characters + characters for watcher in watchers]

    def all_have() -> bool:
        return all(watcher.characters >= goal for watcher, goal in zip(watchers, goals, strict=True))

    eventually(all_have, within_seconds=30, what="more lines at every watcher")


def give_up(watchers: list[Watcher]) -> None:
    """Have all of them end, with what they have."""
    for watcher in watchers:
        watcher.give_up()
    for watcher in watchers:
        watcher.join()


def all_got(watchers: list[Watcher], text: str) -> None:
    """Wait until the watchers have ended, and compare: each has exactly this text and was told of no gap."""
    for watcher in watchers:
        watcher.goal = len(text)
    for watcher in watchers:
        watcher.join()
    for watcher in watchers:
        assert watcher.complaints == []
        assert watcher.text == text, _difference(watcher.text, text)
    assert min(watcher.connections for watcher in watchers[1::2]) > 1


def _difference(found: str, wanted: str) -> str:
    """Where two long texts part, in a few lines."""
    got, want = found.splitlines(), wanted.splitlines()
    at = next((at for at, (one, other) in enumerate(zip(got, want, strict=False)) if one != other), -1)
    return (
        f"{len(got)} lines instead of {len(want)}; from line {at} on {got[at : at + 5]} instead of {want[at : at + 5]}"
    )
