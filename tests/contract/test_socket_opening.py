"""Who may open a container's socket, and what comes first."""

from __future__ import annotations

import pytest
import websocket

from tests.support.answers import accepted
from tests.support.event_socket import Event, EventSocket
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine


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
        events.send({"event": "send_command", "command": "hello"})
        events.wait_for_console("got hello")


@pytest.mark.parametrize(
    "first",
    [{"event": "auth", "token": "lightd_" + "0" * 32}, {"event": "send_command", "command": "x"}, None],
    ids=["a wrong token", "another event", "silence"],
)
def test_whatever_else_comes_first_closes_the_connection(stack: Stack, servers: Servers, first: Event | None) -> None:
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
