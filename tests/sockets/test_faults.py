"""What sockets live through, and what ends them."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from fleet import messages
from fleet.console import Append
from tests.sockets.conftest import Api, running_api
from tests.support.deadline import PATIENCE, eventually
from tests.support.event_socket import EventSocket

LINES_PER_SECOND = 100


class Printer:
    """Prints numbered lines, keeping on over store outages as an agent does: what was not stored is sent again."""

    def __init__(self, api: Api, container_id: str) -> None:
        self.count = 0
        self._api = api
        self._container_id = container_id
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Printer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._ended.wait(1 / LINES_PER_SECOND):
            try:
                self._append(self.count)
            except redis.RedisError:
                continue
            self.count += 1

    def _append(self, number: int) -> None:
        before = f"at-{number - 1}" if number else ""
        item = Append(self._container_id, "printer", before, f"at-{number}", f"line {number}\n".encode())
        self._api.console.append([item])


def numbers(socket: EventSocket) -> list[int]:
    return [int(line.removeprefix("line ")) for line in socket.console_text().splitlines()]


def outage(api: Api, what: str) -> Callable[[], None]:
    """Something that takes a store away and brings it back."""

    def restart_stream() -> None:
        api.stream.stop()
        time.sleep(1)  # how long the outage lasts, not a wait for anything
        api.stream.start()

    def restart_both() -> None:
        for store in (api.stream, api.record):
            store.stop()
        for store in (api.stream, api.record):
            store.start()

    def freeze_stream() -> None:
        api.stream.signal(signal.SIGSTOP)
        time.sleep(6)  # how long the outage lasts, not a wait for anything
        api.stream.signal(signal.SIGCONT)

    def drop_connections() -> None:
        for store in (api.stream, api.record):
            client = redis.Redis.from_url(store.url)
            client.client_kill_filter(_type="pubsub")
            client.close()

    return {"restart": restart_stream, "both": restart_both, "freeze": freeze_stream, "drop": drop_connections}[what]


@pytest.mark.parametrize("what", ["restart", "both", "freeze", "drop"])
def test_every_line_comes_once_and_in_order_over_an_outage(own_api: Api, what: str) -> None:
    api = own_api
    api.create("c")
    sockets = [api.socket("c", since=0) for _ in range(5)]
    for socket in sockets:
        socket.wait_for_state("running")
    with Printer(api, "c") as printer:
        sockets[0].wait_for_console("line 20\n")
        outage(api, what)()
        goal = printer.count + 50
        eventually(lambda: printer.count >= goal, within_seconds=20, what="more lines after the outage")
    last = printer.count - 1
    for socket in sockets:
        socket.wait_for(lambda event: event["event"] == "console" and f"line {last}\n" in event["data"], 20)
        assert numbers(socket) == list(range(printer.count))
        assert not [event for event in socket.events if event["event"] == "daemon_message"]
        socket.close()


def test_events_of_an_outage_are_told_once_when_it_is_over(own_api: Api) -> None:
    api = own_api
    api.create("c")
    with api.socket("c") as socket:
        socket.wait_for_state("running")
        client = redis.Redis.from_url(api.record.url)
        api.containers.tell("c", messages.daemon("before"))
        socket.wait_for(lambda event: event["data"] == "before")
        with client.pipeline(transaction=True) as pipe:
            pipe.client_kill_filter(_type="pubsub")
            pipe.execute()
        for number in range(300):
            api.containers.tell("c", messages.daemon(f"message {number}"))
        socket.wait_for(lambda event: event["data"] == "message 299")
        told = [event["data"] for event in socket.events if event["event"] == "daemon_message"]
        assert told == ["before", *(f"message {number}" for number in range(300))]
        client.close()


def test_more_events_than_are_kept_end_in_the_current_state(own_api: Api) -> None:
    api = own_api
    api.create("c")
    with api.socket("c") as socket:
        socket.wait_for_state("running")
        api.containers.tell("c", messages.daemon("before"))
        socket.wait_for(lambda event: event["data"] == "before")
        with redis.Redis.from_url(api.record.url) as client:
            client.client_kill_filter(_type="pubsub")
            for number in range(2000):
                api.containers.tell("c", messages.daemon(f"message {number}"))
            api.containers.tell("c", messages.event(messages.RUNNING))
        socket.wait_for(lambda event: event["data"] in ("message 1999", "running"), start=2)
        api.containers.tell("c", messages.daemon("after"))
        socket.wait_for(lambda event: event["data"] == "after")


def test_a_message_that_is_none_of_ours_harms_nobody(api: Api, name: str) -> None:
    api.create(name)
    with api.socket(name) as socket, redis.Redis.from_url(api.stream.url) as client:
        socket.wait_for_state("running")
        client.publish(f"lightd:console:{name}", b"\xff garbage")
        api.redis.publish(f"lightd:feed:{name}", "garbage")
        api.print(name, "still here")
        socket.wait_for_console("still here")


@pytest.mark.parametrize("remove_on_use", [False, True])
def test_a_revoked_token_closes_its_sockets_within_five_seconds(api: Api, name: str, remove_on_use: bool) -> None:
    secret, token = api.tokens.issue(600, remove_on_use=remove_on_use)
    other_secret, _ = api.tokens.issue(600)
    with api.socket(name, token=secret) as revoked, api.socket(name, token=other_secret) as other:
        revoked.wait_for(lambda _: True)
        api.tokens.revoke(token.id)
        assert revoked.wait_closed(5) == 4401
        other.send({"event": "fly"})
        other.wait_for(lambda event: "Unknown event" in event["data"])


def test_an_expired_token_closes_its_sockets_within_five_seconds(api: Api, name: str) -> None:
    secret, _ = api.tokens.issue(2)
    single_use, _ = api.tokens.issue(2, remove_on_use=True)
    with api.socket(name, token=secret) as expired, api.socket(name, token=single_use) as consumed:
        assert expired.wait_closed(7) == 4401
        assert consumed.wait_closed(7) == 4401


def test_an_expired_token_closes_its_sockets_also_while_the_store_is_silent(own_api: Api) -> None:
    secret, _ = own_api.tokens.issue(3)
    with own_api.socket("c", token=secret) as expired:
        expired.wait_for(lambda _: True)
        own_api.record.signal(signal.SIGSTOP)
        assert expired.wait_closed(20) == 4401


def test_a_new_master_token_closes_the_sockets_of_the_old_one(own_api: Api) -> None:
    with own_api.socket("c") as socket:
        socket.wait_for(lambda _: True)
        own_api.tokens.set_master("lightd_" + "n" * 30)
        assert socket.wait_closed(5) == 4401


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_at_its_end_the_api_closes_all_sockets_with_1001_within_two_seconds(own_api: Api, number: int) -> None:
    sockets = [own_api.socket("c") for _ in range(40)]
    sockets += [EventSocket(own_api.many_url()) for _ in range(10)]
    for socket in sockets[40:]:
        socket.send({"event": "subscribe", "containers": ["c", "d"]})
    for socket in sockets:
        socket.wait_for(lambda _: True)
    began = time.monotonic()
    own_api.signal(number)
    assert {socket.wait_closed(5) for socket in sockets} == {1001}
    assert time.monotonic() - began < 2 * PATIENCE
    own_api.wait_ended(5)
    assert own_api.places() == {}
    for socket in sockets:
        socket.close()


@pytest.fixture
def impatient_api(folder: Path) -> Iterator[Api]:
    """An API whose sockets outlive a lost store for six seconds."""
    yield from running_api(folder, LIGHTD_SOCKET_STORE_SECONDS="6")


@pytest.mark.parametrize("lost", ["stream", "record"])
def test_a_store_that_stays_away_closes_sockets_with_4503(impatient_api: Api, lost: str) -> None:
    with impatient_api.socket("c") as socket:
        socket.wait_for(lambda _: True)
        store = impatient_api.stream if lost == "stream" else impatient_api.record
        store.stop()
        began = time.monotonic()
        assert socket.wait_closed(20) == 4503
        assert time.monotonic() - began > 1


@pytest.mark.parametrize(
    "connections", [200, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(1200)])]
)
def test_connections_leave_nothing_behind(own_api: Api, connections: int) -> None:
    names = [f"c{number}" for number in range(10)]
    for name in names:
        own_api.create(name)
        own_api.print(name, "hello")
    _come_and_go(own_api, names, 40)
    before = eventually(lambda: _at_rest(own_api), within_seconds=10, what="rest")
    _come_and_go(own_api, names, connections)
    after = eventually(lambda: _at_rest(own_api), within_seconds=10, what="rest")
    assert own_api.places() == {}
    assert after["greenlets"] <= before["greenlets"]
    assert after["descriptors"] <= before["descriptors"] + _SPARE_DESCRIPTORS
    assert after["objects"] - before["objects"] < 2000 + connections / 10, "less than one for each connection"
    assert after["memory_kb"] - before["memory_kb"] < 16 * 1024 + connections / 2, "half a KB for each, and slack"
    assert own_api.redis.execute_command("PUBSUB", "CHANNELS") == []
    with redis.Redis.from_url(own_api.stream.url) as client:
        assert client.execute_command("PUBSUB", "CHANNELS") == []


_AT_ONCE = 4
_SPARE_DESCRIPTORS = 5 * _AT_ONCE
"""Connections to the stores, which are kept for later use."""


def _come_and_go(api: Api, names: list[str], connections: int) -> None:
    def visit(number: int) -> None:
        with api.socket(names[number % len(names)], since=0) as socket:
            if number % 3:
                socket.wait_for_console("hello")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(visit, range(connections)):
            pass


def _at_rest(api: Api) -> dict[str, int]:
    held = api.held()
    return held if held["clients"] == held["watches"] == 0 else {}
