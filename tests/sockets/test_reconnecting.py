"""Twenty watchers, half of them coming and going, while a container prints fast and the stores fail."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from fleet.console import Append, Console
from tests.sockets.conftest import Api, running_api
from tests.sockets.test_faults import outage
from tests.support.event_socket import EventSocket
from tests.support.watcher import all_got, twenty_watchers
from tests.support.way import Way, hold_all

LINES_PER_SECOND = 2000
BATCH_SECONDS = 0.02


class FastPrinter(threading.Thread):
    """Prints numbered lines at a steady rate, as a host's agent passes them on: each exactly once, over any outage."""

    def __init__(self, api: Api) -> None:
        super().__init__(daemon=True)
        self.count = 0
        self.printed: dict[int, str] = {}
        """What was printed, by its seq; not what was stored although its answer got lost."""
        self._api = api
        self.ended = threading.Event()

    def __enter__(self) -> FastPrinter:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()

    def run(self) -> None:
        began = time.monotonic()
        while not self.ended.wait(BATCH_SECONDS):
            upto = int((time.monotonic() - began) * LINES_PER_SECOND)
            lines = "".join(f"{number}\n" for number in range(self.count, upto))
            before = str(self.count) if self.count else ""
            try:
                seq, _ = self._api.console.append([Append("c", "printer", before, str(upto), lines.encode())])[0]
                self.printed[seq or 0] = lines
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


@contextlib.contextmanager
def api_over_ways(folder: Path) -> Iterator[tuple[Api, list[Way]]]:
    """An API that reaches its stores over ways, and these."""
    ways = [Way(str(folder / name / "store.sock"), folder / f"way-to-{name}.sock") for name in ("record", "stream")]
    settings = {"LIGHTD_REDIS_URL": ways[0].address, "LIGHTD_STREAM_URL": ways[1].address}
    with ways[0], ways[1], contextlib.contextmanager(running_api)(folder, **settings) as api:
        yield api, ways


@pytest.mark.long
@pytest.mark.parametrize("what", ["restart", "both", "freeze", "drop"])
def test_watchers_that_come_and_go_get_every_line_once_over_an_outage(own_api: Api, what: str) -> None:
    _get_every_line_once(own_api, outage(own_api, what))


@pytest.mark.long
def test_watchers_get_every_line_once_though_their_api_is_cut_off_from_its_stores(folder: Path) -> None:
    """Nothing goes through for ten seconds, and nobody is told: what TCP does over a network that is gone."""
    with api_over_ways(folder) as (api, ways):
        _get_every_line_once(api, lambda: hold_all(ways, 10))


@pytest.mark.long
def test_what_an_outage_longer_than_history_swallowed_is_named_exactly(folder: Path) -> None:
    """History holds about three seconds of output. For fifteen the API hears nothing from its stores: after ten of them
    it gives up a connection, over which all might still come.
    """
    with api_over_ways(folder) as (api, ways):
        api.console = Console(redis.Redis.from_url(api.stream.url), history_kb=32)
        api.create("c")
        sockets = [api.socket("c", since=0) for _ in range(5)]
        for socket in sockets:
            socket.wait_for(lambda _: True)
        with FastPrinter(api) as printer:
            sockets[0].wait_for_console("\n2000\n", 20)
            hold_all(ways, 15)
            goal = printer.count + LINES_PER_SECOND
            sockets[0].wait_for(lambda event: event["event"] == "console" and int(event["data"].split()[-1]) > goal, 30)
        newest = max(printer.printed)
        for socket in sockets:
            socket.wait_for(lambda event: event.get("seq") == newest, 30)
            assert _told(socket) == _lost_but_named(socket, printer.printed)
            socket.close()


def _told(socket: EventSocket) -> list[tuple[int, str]]:
    return [(event["seq"], event["data"]) for event in socket.events if event["event"] == "console"]


def _lost_but_named(socket: EventSocket, printed: dict[int, str]) -> list[tuple[int, str]]:
    """What a client should have got: everything but what it was told to be lost, of which there is some."""
    notices = [event["data"] for event in socket.events if event["event"] == "daemon_message"]
    gaps = [
        re.fullmatch(r"Console output (\d+) to (\d+) is lost: history reaches back no further.", n) for n in notices
    ]
    lost = {seq for gap in gaps if gap for seq in range(int(gap[1]), int(gap[2]) + 1)}
    assert lost and all(gaps), notices
    return [(seq, text) for seq, text in printed.items() if seq not in lost]


def _get_every_line_once(api: Api, outage: Callable[[], None]) -> None:
    api.create("c")
    watchers = twenty_watchers(lambda seq: api.socket("c", since=seq))
    with FastPrinter(api) as printer:
        time.sleep(3)  # how long all is well, not a wait for anything
        outage()
        time.sleep(3)
    assert printer.count > 5 * LINES_PER_SECOND
    all_got(watchers, "".join(f"{number}\n" for number in range(printer.count)))


def test_what_a_client_got_when_it_leaves_in_a_flood_has_no_hole(own_api: Api) -> None:
    own_api.create("c")
    with FastPrinter(own_api):
        for _ in range(40):
            with own_api.socket("c", since=0) as socket:
                socket.wait_for_console("\n")
            seqs = [event["seq"] for event in socket.events if event["event"] == "console"]
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
