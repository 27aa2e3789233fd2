"""What a container's socket takes: commands, power, requests for logs, and nonsense."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator

import pytest
from docker.models.images import Image

from tests.support.event_socket import Event, EventSocket
from tests.support.servers import READ_LINES, Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def reader(stack: Stack, busybox_image: Image) -> Iterator[str]:
    """A running container that repeats what it reads, for all tests here that leave it running."""
    servers = Servers(stack)
    yield servers.run()
    servers.clean()


def wait_for_error(events: EventSocket) -> Event:
    return events.wait_for(lambda event: event["event"] == "daemon_message" and event["data"].startswith("Error: "))


def is_alive(events: EventSocket) -> None:
    """The connection still takes commands of a container that runs `READ_LINES`."""
    word = secrets.token_hex(4)
    events.send({"event": "send_command", "command": word})
    events.wait_for_console(f"got {word}")


def test_commands_reach_the_process_in_order_and_once(stack: Stack, reader: str) -> None:
    with stack.socket(reader) as events:
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
    stack: Stack, reader: str, command: object
) -> None:
    with stack.socket(reader) as events:
        events.wait_for_state("running")
        events.send({"event": "send_command", "command": command})
        wait_for_error(events)
        is_alive(events)
    assert events.console_text().count("got ") == 1


def test_a_line_of_four_thousand_bytes_arrives_whole(stack: Stack, reader: str) -> None:
    with stack.socket(reader) as events:
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
    stack: Stack, reader: str, message: Event | str
) -> None:
    with stack.socket(reader) as events:
        events.wait_for_state("running")
        events.send(message)
        wait_for_error(events)
        is_alive(events)


def test_an_action_that_the_state_does_not_allow_is_an_error_and_the_connection_stays(
    stack: Stack, reader: str
) -> None:
    with stack.socket(reader) as events:
        events.wait_for_state("running")
        events.send({"event": "power", "action": "start"})
        assert "running" in wait_for_error(events)["data"]
        is_alive(events)
