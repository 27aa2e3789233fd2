"""One socket for a hundred containers that all print: nothing is lost, and only a slow reader is left behind."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import redis

from fleet.console import Append
from tests.sockets.conftest import Api
from tests.sockets.raw_socket import RawSocket
from tests.sockets.test_many import Many
from tests.sockets.test_stats import Sampled
from tests.support.deadline import eventually

CONTAINERS = 100
ROUNDS = 30
LINES_A_ROUND = 5
TEXT = 0x81


def test_nothing_of_a_hundred_containers_is_lost_also_when_the_stores_hang_up(own_api: Api) -> None:
    api = own_api
    names = [f"c{number}" for number in range(CONTAINERS)]
    for name in names:
        api.create(name)
    with Many(api) as socket:
        socket.subscribe(since=dict.fromkeys(names, 0))
        for name in names:
            socket.wait_of(name, "event", "running")
        for turn in range(ROUNDS):
            api.console.append([_append(name, turn) for name in names])
            if turn % 10 == 5:
                for store in (api.stream, api.record):
                    with redis.Redis.from_url(store.url) as client:
                        client.client_kill_filter(_type="pubsub")
        wanted = "".join(_lines(turn) for turn in range(ROUNDS))
        eventually(
            lambda: sum(event["event"] == "console" for event in socket.events) >= CONTAINERS * ROUNDS,
            within_seconds=20,
            what="all output",
        )
        printed, seqs = defaultdict(str), defaultdict(list)
        for event in socket.events:
            if event["event"] == "console":
                printed[event["server"]] += event["data"]
                seqs[event["server"]].append(event["seq"])
        assert printed == dict.fromkeys(names, wanted)
        assert all(found == list(range(found[0], found[0] + ROUNDS)) for found in seqs.values())
        assert not [event for event in socket.events if event["event"] == "daemon_message"]


def test_a_slow_reader_of_many_is_closed_with_4408_and_others_get_everything(api: Api, name: str) -> None:
    a, b = f"{name}-a", f"{name}-b"
    for server in (a, b):
        api.create(server)
    with Many(api) as quick, RawSocket(api.many_url(), receive_buffer_bytes=4096) as slow:
        wish = {"event": "subscribe", "containers": [a, b]}
        quick.send(wish)
        slow.send_frame(TEXT, json.dumps(wish).encode())
        frames = slow.frames()
        for _ in (a, b):
            assert json.loads(next(frames)[1])["data"] == "running"
        for server in (a, b):
            quick.wait_of(server, "event", "running")
        line = "x" * 60_000
        seqs: dict[str, list[int]] = {a: [], b: []}
        for _ in range(12):
            for server in (a, b) * 5:
                seqs[server].append(api.print(server, line))
            for server in (a, b):
                quick.wait_for(lambda event, of=server: event.get("server") == of and event.get("seq") == seqs[of][-1])
        Sampled(api, a).report(5)
        quick.wait_of(a, "stats")
        for server in (a, b):
            assert [event["seq"] for event in quick.of(server) if event["event"] == "console"] == seqs[server]
        told = list(frames)
        assert told[-1][0] == 8 and int.from_bytes(told[-1][1][:2], "big") == 4408
        last = json.loads(told[-2][1])
        assert last["data"].startswith("Error: This client reads too slowly") and "server" not in last
    eventually(lambda: api.held()["clients"] == 0, within_seconds=10, what="the end of both")


def _lines(turn: int) -> str:
    first = turn * LINES_A_ROUND
    return "".join(f"{number}\n" for number in range(first, first + LINES_A_ROUND))


def _append(name: str, turn: int) -> Append:
    return Append(name, "printer", str(turn) if turn else "", str(turn + 1), _lines(turn).encode())


def test_whoever_asks_for_a_thousand_containers_again_and_again_holds_nobody_up(api: Api, name: str) -> None:
    api.create(name)
    asked = {"event": "subscribe", "containers": [f"{name}-{number}" for number in range(1000)]}
    message, is_over = json.dumps(asked).encode(), threading.Event()

    def ask() -> None:
        with RawSocket(api.many_url()) as socket, ThreadPoolExecutor(1) as pool:
            reading = pool.submit(socket.close_code)
            while not is_over.wait(1 / 50):
                socket.send_frame(0x81, message)
            socket.reset()
            reading.exception()

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            eventually(lambda: api.held()["watches"] >= 3000, within_seconds=20, what="a thousand containers")
            for number in range(20):
                with api.socket(name) as socket:
                    socket.wait_for_state("running")
                    api.print(name, f"line {number}")
                    socket.wait_for_console(f"line {number}")
                assert api.held()["greenlets"] < 3 * 3000
        finally:
            is_over.set()
        asking.result()
