"""A token for the player of one server: its console, its files, and nothing else."""

from __future__ import annotations

import pytest
import requests

from tests.support.answers import accepted, refused
from tests.support.event_socket import EventSocket
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine


def test_a_players_token_reaches_its_server_and_nothing_else(stack: Stack, servers: Servers) -> None:
    volume, their_volume = (servers.volume()["volume_id"] for _ in range(2))
    mine, theirs = servers.run(volume_id=volume), servers.create(volume_id=their_volume)
    wanted = {"ttl": "1h", "scopes": ["read", "console", "command", "files"], "containers": [mine]}
    token = accepted(stack.api("POST", "/auth/tokens", json=wanted))["token"]

    listed = accepted(stack.api("GET", "/containers", token=token))["containers"]
    assert [found["internal_id"] for found in listed] == [mine]
    assert refused(stack.api("GET", f"/containers/{theirs}", token=token), 403)["code"] == "out_of_reach"
    killed = stack.api("POST", f"/containers/{mine}/kill", token=token)
    assert refused(killed, 403, "This token lacks the scope power.")["code"] == "missing_scope"

    written = {"path": "hello.txt", "content": "hello"}
    accepted(stack.api("POST", f"/volumes/{volume}/files", token=token, json=written))
    link = {"path": "hello.txt", "action": "download"}
    url = accepted(stack.api("POST", f"/volumes/{volume[:8]}/links", token=token, json=link))["url"]
    assert requests.get(url, timeout=30).text == "hello"
    refused(stack.api("POST", f"/volumes/{their_volume}/files", token=token, json=written), 403)

    with EventSocket(f"ws://{stack.address}/ws?token={token}") as socket:
        socket.send({"event": "subscribe", "containers": "*"})
        socket.wait_for_state("running")
        socket.send({"event": "send_command", "server": mine, "command": "hi"})
        socket.wait_for_console("got hi")
        socket.send({"event": "power", "server": mine, "action": "kill"})
        socket.wait_for(lambda event: event.get("data") == "Error: This token lacks the scope power.")
        assert {event["server"] for event in socket.events} == {mine}
    assert servers.record(mine)["state"] == "running"
