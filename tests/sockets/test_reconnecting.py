"""Twenty watchers, half of them coming and going, while a container prints fast and the stores fail."""

from __future__ import annotations

import random
import threading
import time

import pytest
import redis

from fleet.console import Append
from tests.sockets.conftest import Api
from tests.sockets.test_faults import outage
from tests.support.event_socket import EventSocket

LINES_PER_SECOND = 2000
BATCH_SECONDS = 0.02


class FastPrinter(threading.Thread):
    """Prints numbered lines at a steady rate, as a host's agent passes them on: each exactly once, over any outage."""

    def __init__(self, api: Api) -> None:
        super().__init__()
        self.count = 0
        self._api = api
        self.ended = threading.Event()

    def run(self) -> None:
        began = time.monotonic()
        while not self.ended.wait(BATCH_SECONDS):
            upto = int((time.monotonic() - began) * LINES_PER_SECOND)
            lines = "".join(f"{number}\n" for number in range(self.count, upto))
            before = str(self.count) if self.count else ""
            try:
                self._api.console.append([Append("c", "printer", before, str(upto), lines.encode())])
            except redis.RedisError:
                upto = int(self._position_after_outage() or self.count)
            self.count = upto

    def _position_after_outage(self) -> str:
        """What was stored after all, although its answer got lost."""
        while not self.ended.wait(0.1):
            try:
                return self._api.console.position("c", "printer")
            except redis.RedisError:
                continue
        return ""


class Watcher(threading.Thread):
    """Collects numbers over as many connections as it likes; goes on after the last seq it has."""

    def __init__(self, api: Api, stays_seconds: float | None) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.connections = 0
        self.complaints: list[str] = []
        self.goal: int | None = None
        self._api = api
        self._stays_seconds = stays_seconds
        self._seq = 0

    def run(self) -> None:
        ends_at = time.monotonic() + 120
        while not self._is_done() and time.monotonic() < ends_at:
            try:
                socket = self._api.socket("c", since=self._seq)
            except Exception:  # noqa: BLE001 (refused during an outage: again)
                time.sleep(0.1)
                continue
            self.connections += 1
            with socket:
                self._watch(socket)

    def _watch(self, socket: EventSocket) -> None:
        leaves_at = time.monotonic() + (random.uniform(0.2, 2) * self._stays_seconds if self._stays_seconds else 120)
        seen = 0
        while time.monotonic() < leaves_at and not self._is_done():
            time.sleep(0.02)
            seen = self._take(socket, seen)
        socket.close()
        self._take(socket, seen)

    def _take(self, socket: EventSocket, seen: int) -> int:
        events = socket.events[seen:]
        for event in events:
            if event["event"] == "console":
                self.lines += event["data"].splitlines()
                self._seq = event["seq"]
            elif event["event"] == "daemon_message":
                self.complaints.append(event["data"])
        return seen + len(events)

    def _is_done(self) -> bool:
        return self.goal is not None and len(self.lines) >= self.goal


@pytest.mark.long
@pytest.mark.parametrize("what", ["restart", "both", "freeze", "drop"])
def test_watchers_that_come_and_go_get_every_line_once_over_an_outage(own_api: Api, what: str) -> None:
    own_api.create("c")
    printer = FastPrinter(own_api)
    watchers = [Watcher(own_api, 1.0 if number % 2 else None) for number in range(20)]
    for thread in (printer, *watchers):
        thread.start()
    time.sleep(3)  # how long all is well, not a wait for anything
    outage(own_api, what)()
    time.sleep(3)
    printer.ended.set()
    printer.join()
    for watcher in watchers:
        watcher.goal = printer.count
    for watcher in watchers:
        watcher.join()
    wanted = [str(number) for number in range(printer.count)]
    assert printer.count > 5 * LINES_PER_SECOND
    for watcher in watchers:
        assert watcher.complaints == []
        assert watcher.lines == wanted
    assert min(watcher.connections for watcher in watchers[1::2]) > 1
