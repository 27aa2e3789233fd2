"""What clients ask for over their socket, and what they are told when it cannot be done."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from fleet.errors import Conflict
from fleet.lifecycle import State
from fleet.orders import Orders
from tests.sockets.conftest import NODE, Api
from tests.support.deadline import eventually
from tests.support.event_socket import EventSocket


@contextmanager
def agent(api: Api, answer: Callable[[dict[str, Any]], str | None]) -> Iterator[list[dict[str, Any]]]:
    """What a host's agent does with orders for input: take them in order, and answer each, but for None.

    Yields what it took.
    """
    taken: list[dict[str, Any]] = []
    ended = threading.Event()
    client = redis.Redis.from_url(api.record.url, decode_responses=True)
    orders = Orders(client, client)

    def work() -> None:
        while not ended.is_set():
            order = orders.next(NODE, 0.1)
            if order is not None and "input" in order:
                taken.append(order)
                text = answer(order)
                if text is not None:
                    orders.answer(order["reply"], Conflict(text) if text else None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        ended.set()
        thread.join()
        client.close()


def wait_for_error(socket: EventSocket, text: str) -> str:
    data: str = socket.wait_for(lambda event: event["data"].startswith("Error: ") and text in event["data"])["data"]
    return data


def test_commands_arrive_in_order_each_once_with_one_newline(api: Api, name: str) -> None:
    api.create(name)
    with agent(api, lambda _: "") as taken, api.socket(name) as socket:
        socket.wait_for_state("running")
        for number in range(40):
            socket.send({"event": "send_command", "command": f"say {number}" + ("\n" if number % 2 else "")})
        eventually(lambda: len(taken) >= 40, within_seconds=10, what="all commands")
        assert [order["data"] for order in taken] == [f"say {number}\n" for number in range(40)]
        assert {order["input"] for order in taken} == {name}
        assert socket.states() == ["running"] and len(socket.events) == 1


def test_what_waits_for_its_turn_is_not_done_once_its_token_has_ended(api: Api, name: str) -> None:
    api.create(name)
    secret, token = api.tokens.issue(600)
    closed = threading.Event()

    def after_the_end(_order: dict[str, Any]) -> str:
        closed.wait(60)
        return ""

    with agent(api, after_the_end) as taken:
        with api.socket(name, token=secret) as revoked:
            for command in ("before", "too late"):
                revoked.send({"event": "send_command", "command": command})
            eventually(lambda: len(taken) == 1, within_seconds=10, what="the first command")
            api.tokens.revoke(token.id)
            assert revoked.wait_closed(5) == 4401
        closed.set()
        with api.socket(name) as other:
            other.send({"event": "send_command", "command": "of another"})
            eventually(lambda: len(taken) >= 2, within_seconds=10, what="another client's command")
    assert [order["data"] for order in taken] == ["before\n", "of another\n"]


def test_a_command_that_the_terminal_does_not_take_is_an_error(api: Api, name: str) -> None:
    api.create(name)
    with agent(api, lambda _: "not accepting input"), api.socket(name) as socket:
        socket.send({"event": "send_command", "command": "stop"})
        wait_for_error(socket, "not accepting input")


@pytest.mark.parametrize(
    "command",
    [
        "two\nlines",
        "bell\x07",
        "\x03",
        "tab\tinside",
        "delete\x7f",
        "next\u2028line",
        "c1\x9b31m",
        "x" * 4001,
        "ä" * 2001,
        "\ud800",
        "trailing\n\n",
        5,
        None,
        ["a"],
    ],
)
def test_a_command_that_is_not_one_plain_line_is_refused(api: Api, name: str, command: Any) -> None:
    api.create(name)
    with agent(api, lambda _: "") as taken, api.socket(name) as socket:
        socket.send({"event": "send_command", "command": command})
        wait_for_error(socket, "command")
        assert taken == []


@pytest.mark.parametrize("command", ["x" * 4000, "ä" * 2000, "x" * 4000 + "\n", "", 'say 🎮 \\ "hi"'])
def test_a_command_of_up_to_4000_bytes_is_delivered(api: Api, name: str, command: str) -> None:
    api.create(name)
    with agent(api, lambda _: "") as taken, api.socket(name) as socket:
        socket.send({"event": "send_command", "command": command})
        eventually(lambda: taken, within_seconds=5, what="the command")
        assert taken[0]["data"] == command.removesuffix("\n") + "\n"


@pytest.mark.parametrize("state", [State.READY, State.INSTALLING, State.STOPPING, State.FAILED])
def test_a_command_needs_a_running_process(api: Api, name: str, state: State) -> None:
    api.create(name, state)
    with api.socket(name) as socket:
        socket.send({"event": "send_command", "command": "say hi"})
        assert state.value in wait_for_error(socket, "Cannot send a command")


def test_a_command_for_an_unknown_container_is_an_error(api: Api, name: str) -> None:
    with api.socket(name) as socket:
        socket.send({"event": "send_command", "command": "say hi"})
        wait_for_error(socket, "Container not found")


def test_power_begins_the_action_and_its_event_comes(api: Api, name: str) -> None:
    api.create(name, State.READY)
    with api.socket(name) as socket:
        socket.wait_for_state("installed")
        socket.send({"event": "power", "action": "start"})
        socket.wait_for_state("starting")
        assert api.containers.get(name).state is State.STARTING


def test_power_that_the_state_forbids_is_told_with_what_is_allowed(api: Api, name: str) -> None:
    api.create(name, State.READY)
    with api.socket(name) as socket:
        socket.send({"event": "power", "action": "stop"})
        assert "allowed now: start" in wait_for_error(socket, "Cannot stop")
        socket.send({"event": "power", "action": "start"})
        socket.wait_for_state("starting")


@pytest.mark.parametrize("action", ["delete", "install", "fly", None, 5, ["start"], {}])
def test_power_knows_four_actions(api: Api, name: str, action: Any) -> None:
    api.create(name, State.READY)
    with api.socket(name) as socket:
        socket.send({"event": "power", "action": action})
        wait_for_error(socket, "start, stop, restart, kill")
    assert api.containers.get(name).state is State.READY


def test_logs_come_on_request(api: Api, name: str) -> None:
    api.create(name)
    api.print(name, *(f"line {number}" for number in range(300)))
    with api.socket(name) as socket:
        socket.send({"event": "request_logs"})
        assert socket.wait_for(lambda event: event["event"] == "logs")["data"].startswith("line 100\n")
        socket.send({"event": "request_logs", "lines": 2})
        socket.wait_for(lambda event: event["event"] == "logs" and event["data"] == "line 298\nline 299\n")


def test_of_a_line_that_is_too_long_for_one_answer_its_end_comes(api: Api, name: str) -> None:
    api.create(name)
    api.print(name, "x" * 1_000_000 + "end")
    with api.socket(name) as socket:
        socket.send({"event": "request_logs", "lines": 1})
        assert socket.wait_for(lambda event: event["event"] == "logs")["data"].endswith("xxxend\n")


@pytest.mark.parametrize("lines", [0, -1, 10**9, "5", 1.5, True, None])
def test_a_wrong_number_of_lines_is_an_error(api: Api, name: str, lines: Any) -> None:
    with api.socket(name) as socket:
        socket.send({"event": "request_logs", "lines": lines})
        wait_for_error(socket, "lines")


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "null",
        "5",
        '"text"',
        "[]",
        "{}",
        '{"event": 5}',
        '{"event": "fly"}',
        "[" * 30000,
        '{"event": "\\ud800"}',
        json.dumps({"event": "x" * 60000}),
        '{"event": ["power"]}',
    ],
)
def test_a_message_that_makes_no_sense_is_an_error_and_the_socket_stays(api: Api, name: str, message: str) -> None:
    api.create(name)
    with api.socket(name) as socket:
        socket.wait_for_state("running")
        socket.send(message)
        wait_for_error(socket, "Error: ")
        api.print(name, "still here")
        socket.wait_for_console("still here")


def test_too_many_messages_are_dropped_and_told(api: Api, name: str) -> None:
    api.create(name)
    with api.socket(name) as socket:
        for _ in range(400):
            socket.send({"event": "nonsense"})  # answered at once, also by a busy API
        wait_for_error(socket, "too many messages")
        assert len([event for event in socket.events if "Unknown event" in str(event.get("data"))]) < 200
        eventually(lambda: _is_served(socket), within_seconds=5, what="an answer after a pause")


def _is_served(socket: EventSocket) -> bool:
    before = len(socket.events)
    socket.send({"event": "request_logs", "lines": 1})
    return bool(socket.wait_for(lambda _: True, start=before)["event"] == "logs")
