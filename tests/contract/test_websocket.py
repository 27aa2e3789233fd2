"""One container's socket: who may open it, what it tells, what it takes."""

from __future__ import annotations

import re

import pytest
import websocket

from tests.support.answers import accepted
from tests.support.event_socket import Event, EventSocket
from tests.support.servers import READ_LINES, Servers, numbers_in
from tests.support.stack import Stack

pytestmark = pytest.mark.engine


def wait_for_message(events: EventSocket, text: str, start: int = 0) -> Event:
    return events.wait_for(
        lambda event: event["event"] == "daemon_message" and event["data"] == text, start=start, seconds=10
    )


def wait_for_error(events: EventSocket, start: int = 0) -> Event:
    return events.wait_for(
        lambda event: event["event"] == "daemon_message" and event["data"].startswith("Error: "), start=start
    )


def is_alive(events: EventSocket, word: str) -> None:
    """The connection still takes commands of a container that runs `READ_LINES`."""
    events.send({"event": "send_command", "command": word})
    events.wait_for_console(f"got {word}")


# --- opening -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "lightd_" + "0" * 32, "nonsense", "%ff%fe"])
def test_a_bad_token_is_401_and_no_upgrade(stack: Stack, token: str) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
        EventSocket(f"ws://{stack.address}/ws/nobody?token={token}")
    assert refusal.value.status_code == 401


def test_the_token_may_come_in_the_header(stack: Stack) -> None:
    url = f"ws://{stack.address}/ws/nobody"
    with EventSocket(url, headers=[f"Authorization: Bearer {stack.token}"]) as events:
        events.wait_for(lambda event: event["event"] == "daemon_message")
    with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
        EventSocket(url, headers=["Authorization: Bearer lightd_" + "0" * 32])
    assert refusal.value.status_code == 401


def test_the_token_may_come_as_the_first_message(stack: Stack, servers: Servers) -> None:
    container = servers.run()
    with EventSocket(f"ws://{stack.address}/ws/{container}") as events:
        events.send({"event": "auth", "token": stack.token})
        events.wait_for_state("running")
        is_alive(events, "hello")


@pytest.mark.parametrize(
    "first",
    [{"event": "auth", "token": "lightd_" + "0" * 32}, {"event": "send_command", "command": "x"}, "no json", None],
    ids=["a wrong token", "another event", "no json", "silence"],
)
def test_whatever_else_comes_first_closes_the_connection(
    stack: Stack, servers: Servers, first: Event | str | None
) -> None:
    container = servers.run()
    with EventSocket(f"ws://{stack.address}/ws/{container}") as events:
        if first is not None:
            events.send(first)
        assert events.wait_closed(8) == 4401
    told = [event for event in events.events if event["event"] != "daemon_message"]
    assert told == [], "nothing is told to who has not shown a token"
    assert "got x" not in servers.logs(container)


def test_an_unknown_container_is_said_to_be_unknown_and_is_followed_once_it_exists(
    stack: Stack, servers: Servers
) -> None:
    body = servers.body("echo here I am; sleep 600", start_pattern="here")
    with stack.socket(body["internal_id"]) as events:
        events.wait_for(lambda event: event["event"] == "daemon_message")
        accepted(servers.post(body))
        events.wait_for_state("installing", 20)
        events.wait_for_state("installed", 20)
        servers.act(body["internal_id"], "start")
        events.wait_for_console("here I am")
        events.wait_for_state("running")


def test_the_first_state_is_the_current_one(stack: Stack, servers: Servers) -> None:
    with stack.socket(servers.run()) as events:
        assert events.wait_for(lambda event: event["event"] == "event")["data"] == "running"
    with stack.socket(servers.create()) as events:
        assert events.wait_for(lambda event: event["event"] == "event")["data"] == "installed"
    ended = servers.run()
    servers.act(ended, "kill")
    stack.wait_for_state(ended, "ready")
    with stack.socket(ended) as events:
        assert events.wait_for(lambda event: event["event"] == "event")["data"] == "exit"


# --- what it tells -----------------------------------------------------------------------------------------


def test_a_whole_life_is_told_by_states_and_messages_in_order(stack: Stack, servers: Servers) -> None:
    body = servers.body(start_pattern="Ready", stop_timeout=2)
    container = body["internal_id"]
    with stack.socket(container) as events:
        accepted(servers.post(body))
        events.wait_for_state("installed", 20)
        servers.act(container, "start")
        events.wait_for_state("running")
        servers.act(container, "stop")
        events.wait_for_state("exit")
        for text in ("Container started", "Server started", "Container stopped"):
            wait_for_message(events, text)
    assert events.states() == ["installing", "installed", "starting", "running", "stopping", "exit"]


def test_a_restart_is_told_to_the_end(stack: Stack, servers: Servers) -> None:
    container = servers.run(READ_LINES, start_pattern="Ready", stop_timeout=2)
    with stack.socket(container) as events:
        events.wait_for_state("running")
        seen = len(events.events)
        servers.act(container, "restart")
        wait_for_message(events, "Container restarted", seen)
        events.wait_for_state("running", start=seen)
    states = events.states()[1:]
    assert [state for state in states if state in ("starting", "running")] == ["starting", "running"]
    assert states[-1] == "running"


def test_a_failed_install_is_told(stack: Stack, servers: Servers) -> None:
    body = servers.body(install_script="#!/bin/sh\nexit 1")
    with stack.socket(body["internal_id"]) as events:
        accepted(servers.post(body))
        events.wait_for_state("failed", 20)
    assert events.states() == ["installing", "failed"]


def test_console_events_hold_whole_lines_with_a_rising_seq(stack: Stack, servers: Servers) -> None:
    container = servers.create("n=0; while [ $n -lt 300 ]; do echo line $n; n=$((n+1)); done; sleep 600")
    with stack.socket(container) as events:
        servers.act(container, "start")
        events.wait_for_console("line 299\n")
    consoles = [event for event in events.events if event["event"] == "console"]
    assert all(event.keys() == {"event", "data", "seq"} for event in consoles)
    assert all(event["data"].endswith("\n") and "\r\n" not in event["data"] for event in consoles)
    seqs = [event["seq"] for event in consoles]
    assert all(isinstance(seq, int) for seq in seqs)
    assert seqs == sorted(set(seqs))
    assert numbers_in(events.console_text()) == list(range(300))


def test_output_keeps_its_colours_and_its_letters(stack: Stack, servers: Servers) -> None:
    container = servers.create(r'printf "\033[31mrot\033[0m grün ✓ \"quoted\"\n"; sleep 600')
    with stack.socket(container) as events:
        servers.act(container, "start")
        assert events.wait_for_console("grün")["data"] == '\x1b[31mrot\x1b[0m grün ✓ "quoted"\n'


def test_since_replays_what_was_missed_without_gap_or_repetition(stack: Stack, servers: Servers) -> None:
    container = servers.create("n=0; while true; do echo line $n; n=$((n+1)); sleep 0.02; done")
    with stack.socket(container) as first:
        servers.act(container, "start")
        first.wait_for_console("line 20\n")
    text = first.console_text()
    last_seq = max(event["seq"] for event in first.events if event["event"] == "console")
    stop_at = numbers_in(text)[-1] + 30
    with stack.socket(container, since=last_seq) as second:
        second.wait_for_console(f"line {stop_at}\n")
    text += second.console_text()
    numbers = numbers_in(text)
    assert numbers == list(range(len(numbers)))


def test_two_watchers_get_the_same(stack: Stack, servers: Servers) -> None:
    container = servers.run()
    with stack.socket(container) as one, stack.socket(container) as other:
        one.wait_for_state("running")
        other.wait_for_state("running")
        one.send({"event": "send_command", "command": "hello"})
        first, second = one.wait_for_console("got hello"), other.wait_for_console("got hello")
    assert first == second


def test_each_console_event_is_repeated_only_for_who_asks_for_it(stack: Stack, servers: Servers) -> None:
    container = servers.run()
    with stack.socket(container, duplicate=1) as asked, stack.socket(container) as plain:
        asked.wait_for_state("running")
        is_alive(plain, "hello")
        asked.wait_for(lambda event: event["event"] == "console duplicate" and "got hello" in event["data"])
        asked.wait_for_console("got hello")
        is_alive(plain, "again")
    assert not [event for event in plain.events if event["event"] == "console duplicate"]


# --- what it takes -----------------------------------------------------------------------------------------


def test_commands_reach_the_process_in_order_and_once(stack: Stack, servers: Servers) -> None:
    with stack.socket(servers.run()) as events:
        for number in range(50):
            newline = "\n" if number % 2 else ""
            events.send({"event": "send_command", "command": f"say {number}{newline}"})
        events.wait_for_console("got say 49\n", 15)
    told = re.findall(r"got say (\d+)", events.console_text())
    assert told == [str(number) for number in range(50)]


@pytest.mark.parametrize(
    "command",
    ["two\nlines", "x" * 4001, "control \x03", "escape \x1b[A", "nul \x00", "ü" * 2001, 5, None, ["ls"]],
    ids=["two lines", "too long", "control byte", "escape", "NUL", "too many bytes", "number", "null", "list"],
)
def test_a_command_that_is_not_one_plain_line_is_an_error_and_is_not_typed(
    stack: Stack, servers: Servers, command: object
) -> None:
    with stack.socket(servers.run()) as events:
        events.wait_for_state("running")
        events.send({"event": "send_command", "command": command})
        wait_for_error(events)
        is_alive(events, "afterwards")
    assert events.console_text().count("got ") == 1


def test_a_line_of_four_thousand_bytes_arrives_whole(stack: Stack, servers: Servers) -> None:
    with stack.socket(servers.run()) as events:
        line = "x" * 3999 + "y"
        events.send({"event": "send_command", "command": line})
        events.wait_for_console(f"got {line}\n")


def test_a_command_for_a_container_that_does_not_run_is_an_error(stack: Stack, servers: Servers) -> None:
    with stack.socket(servers.create()) as events:
        events.send({"event": "send_command", "command": "hello"})
        wait_for_error(events)


def test_power_actions_work_over_the_socket(stack: Stack, servers: Servers) -> None:
    container = servers.create(READ_LINES, start_pattern="Ready", stop_timeout=2)
    with stack.socket(container) as events:
        for action, state in (("start", "running"), ("restart", "running"), ("stop", "exit"), ("start", "running")):
            seen = len(events.events)
            events.send({"event": "power", "action": action})
            events.wait_for_state(state, 15, start=seen)
        seen = len(events.events)
        events.send({"event": "power", "action": "kill"})
        events.wait_for_state("exit", start=seen)
        stack.wait_for_state(container, "ready")


def test_logs_come_on_request(stack: Stack, servers: Servers) -> None:
    container = servers.create("n=0; while [ $n -lt 10 ]; do echo line $n; n=$((n+1)); done; sleep 600")
    with stack.socket(container) as events:
        servers.act(container, "start")
        events.wait_for_console("line 9\n")
        events.send({"event": "request_logs"})
        everything = events.wait_for(lambda event: event["event"] == "logs")
        seen = len(events.events)
        events.send({"event": "request_logs", "lines": 3})
        some = events.wait_for(lambda event: event["event"] == "logs", start=seen)
    assert everything["data"] == "".join(f"line {number}\n" for number in range(10))
    assert some["data"] == "line 7\nline 8\nline 9\n"


@pytest.mark.parametrize(
    "message",
    [
        "no json",
        "{",
        "[]",
        "5",
        "null",
        '"text"',
        {},
        {"event": "dance"},
        {"event": 7},
        {"event": "power"},
        {"event": "power", "action": "explode"},
        {"event": "power", "action": ["kill"]},
        {"event": "request_logs", "lines": -1},
        {"event": "request_logs", "lines": "all"},
        {"event": "send_command"},
    ],
    ids=str,
)
def test_what_cannot_be_understood_is_an_error_and_the_connection_stays(
    stack: Stack, servers: Servers, message: Event | str
) -> None:
    with stack.socket(servers.run()) as events:
        events.wait_for_state("running")
        events.send(message)
        wait_for_error(events)
        is_alive(events, "afterwards")


def test_an_action_that_the_state_does_not_allow_is_an_error_and_the_connection_stays(
    stack: Stack, servers: Servers
) -> None:
    with stack.socket(servers.run()) as events:
        events.wait_for_state("running")
        events.send({"event": "power", "action": "start"})
        assert "running" in wait_for_error(events)["data"]
        is_alive(events, "afterwards")
