"""What a container's socket tells."""

from __future__ import annotations

import pytest

from tests.support.answers import accepted
from tests.support.deadline import eventually
from tests.support.event_socket import Event, EventSocket
from tests.support.servers import READ_LINES, Servers, numbers_in
from tests.support.stack import Stack

pytestmark = pytest.mark.engine


def wait_for_message(events: EventSocket, text: str, start: int = 0) -> Event:
    return events.wait_for(lambda event: event == {"event": "daemon_message", "data": text}, start=start)


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


def test_what_is_printed_too_fast_is_counted_to_the_line(stack: Stack, servers: Servers) -> None:
    container = servers.create("seq 1 300000 | sed 's/^/line /'")
    with stack.socket(container) as events:
        servers.act(container, "start")
        events.wait_for_state("exit", 60)
        eventually(
            lambda: _left_out(events) + len(numbers_in(events.console_text())) >= 300_000, within_seconds=15, what="all"
        )
        shown = numbers_in(events.console_text())
        assert _left_out(events) > 0
        assert _left_out(events) + len(shown) == 300_000
        assert shown == sorted(set(shown))


def _left_out(events: EventSocket) -> int:
    notices = [event["data"] for event in events.events if "lines were left out" in str(event.get("data"))]
    return sum(int(notice.split()[0]) for notice in notices)


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
        plain.send({"event": "send_command", "command": "hello"})
        asked.wait_for(lambda event: event["event"] == "console duplicate" and "got hello" in event["data"])
        asked.wait_for_console("got hello")
        plain.wait_for_console("got hello")
    assert not [event for event in plain.events if event["event"] == "console duplicate"]
