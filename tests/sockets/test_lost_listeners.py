"""The API's connection to the stream store ends again and again, while many containers print now and then."""

from __future__ import annotations

import random
import threading

import redis

from fleet.console import Append
from tests.sockets.conftest import Api
from tests.sockets.test_faults import numbers

CONTAINERS = 60
CUTS = 10


class ManyPrinters(threading.Thread):
    """Has containers print a line now and then, each at its own times, as one agent passes them on."""

    def __init__(self, api: Api, names: list[str]) -> None:
        super().__init__(daemon=True)
        self.counts = dict.fromkeys(names, 0)
        self._api = api
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.002):
            chosen = random.sample(list(self.counts), 2)
            self._api.console.append([self._line(name) for name in chosen])
            for name in chosen:
                self.counts[name] += 1

    def _line(self, name: str) -> Append:
        count = self.counts[name]
        return Append(name, "e", str(count or ""), str(count + 1), f"line {count}\n".encode())


def test_whoever_is_caught_up_while_lines_are_published_gets_them_all(own_api: Api) -> None:
    names = [f"c{number}" for number in range(CONTAINERS)]
    sockets = [own_api.socket(name, since=0) for name in names]
    for socket in sockets:
        socket.wait_for(lambda _: True)
    printers = ManyPrinters(own_api, names)
    printers.start()
    with redis.Redis.from_url(own_api.stream.url) as client:
        for _ in range(CUTS):
            goal = printers.counts[names[0]] + 3
            sockets[0].wait_for_console(f"line {goal}\n", 30)
            client.client_kill_filter(_type="pubsub")
    printers.ended.set()
    printers.join()
    for name, socket in zip(names, sockets, strict=True):
        socket.wait_for_console(f"line {printers.counts[name] - 1}\n", 30)
        assert not [event for event in socket.events if event["event"] == "daemon_message" and "lost" in event["data"]]
        assert numbers(socket) == list(range(printers.counts[name]))
        socket.close()
