"""A real game server: Minetest, installed by its install script, played with over UDP and from the console."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.models.images import Image

from tests.support.answers import accepted
from tests.support.deadline import eventually
from tests.support.event_socket import EventSocket
from tests.support.images import UBUNTU
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.slow]

INSTALL = """#!/bin/bash
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends minetest-server
"""
# The server reads no stdin unless it draws a full-screen terminal. So what is typed goes into a file of the world, and
# a small mod inside the game acts on it.
START = """#!/bin/bash
exec 3<&0
: > world/commands.txt
while IFS= read -r line; do printf '%s\\n' "$line" >> world/commands.txt; done <&3 &
exec /usr/games/minetestserver --world world --gameid minetest --config minetest.conf --port "$SERVER_PORT" \\
  --color never --logfile debug.txt
"""
MOD = """local path = minetest.get_worldpath() .. "/commands.txt"
local place = 0
local spot = {x = 0, y = 50, z = 0}
local commands = {
    build = function()
        minetest.get_voxel_manip():read_from_map(spot, spot)
        minetest.set_node(spot, {name = "default:goldblock"})
        return "built"
    end,
    look = function()
        minetest.get_voxel_manip():read_from_map(spot, spot)
        return "there is " .. minetest.get_node(spot).name
    end,
    stop = function()
        minetest.request_shutdown("stopped from the console")
        return "stopping"
    end,
}
minetest.register_globalstep(function()
    local file = io.open(path)
    if not file then return end
    file:seek("set", place)
    for line in file:lines() do
        local command = commands[line]
        minetest.log("action", "console: " .. (command and command() or "you said " .. line))
    end
    place = file:seek()
    file:close()
end)
"""
FILES = {
    "start.sh": START,
    "minetest.conf": "server_announce = false\n",
    "world/worldmods/console/mod.conf": "name = console\n",
    "world/worldmods/console/init.lua": MOD,
}
# Minetest's datagrams: protocol id, sender's peer id (0: has none yet), channel, packet type.
PROTOCOL = bytes.fromhex("4f457403")
HELLO = PROTOCOL + bytes.fromhex("0000 00 01")
RELIABLE, CONTROL, SET_PEER_ID = 3, 0, 1


@pytest.fixture(scope="module")
def game(stack: Stack, debian_image: Image, port_30000: int) -> Iterator[Servers]:
    """The container `minetest`, installed; also what else belongs to it."""
    servers = Servers(stack)
    volume = servers.volume(64)["volume_id"]
    for path, content in FILES.items():
        body = {"path": path, "content": content}
        accepted(stack.api("POST", f"/volumes/{volume}/files", json=body))
    port = {"ip": "127.0.0.1", "port": port_30000, "protocol": "udp"}
    accepted(stack.api("POST", "/network/ports", json=port))
    body = servers.body(
        "bash start.sh",
        internal_id="minetest",
        image=UBUNTU,
        volume_id=volume,
        start_pattern=r"listening on .*:30000",
        install_script=INSTALL,
        ports=[port],
        limits={"memory": 512 * 2**20, "cpu": 2.0},
        env={"HOME": "/home/container"},
        stop_command="stop",
        stop_timeout=60,
    )
    made = accepted(servers.post(body))
    job = stack.wait_for_job(made["job_id"], 150)
    assert job["state"] == "done", job
    yield servers
    servers.clean()
    accepted(stack.api("DELETE", f"/network/ports/127.0.0.1/{port_30000}?protocol=udp"))


@pytest.fixture
def running(stack: Stack, game: Servers) -> Servers:
    """The game, running."""
    if game.record("minetest")["state"] != "running":
        game.act("minetest", "start")
    stack.wait_for_state("minetest", "running", 60)
    return game


@pytest.fixture
def console(stack: Stack, running: Servers) -> Iterator[EventSocket]:
    """The running game's socket."""
    with stack.socket("minetest") as events:
        events.wait_for_state("running")
        yield events


def world_of(stack: Stack, game: Servers) -> Path:
    volume = game.record("minetest")["volume_id"]
    return Path(accepted(stack.api("GET", f"/volumes/{volume}"))["path"]) / "world"


def answers_on_udp() -> bool:
    """Whether the server greets a new client: it gives it a peer id, as its protocol wants."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect(("127.0.0.1", 30000))
        try:
            client.send(HELLO)
            answer = client.recv(100)
        except (TimeoutError, ConnectionRefusedError):
            return False
        peer_id = answer[12:14]
        client.send(PROTOCOL + peer_id + bytes.fromhex("00 00 03"))  # good bye
    return answer[:4] == PROTOCOL and answer[7] == RELIABLE and tuple(answer[10:12]) == (CONTROL, SET_PEER_ID)


def typed(console: EventSocket, text: str, answer: str) -> None:
    """Type a line and wait until the game itself has acted on it."""
    console.send({"event": "send_command", "command": text})
    console.wait_for_console(f"console: {answer}")


def test_it_is_running_and_greets_a_client_on_its_udp_port(stack: Stack, running: Servers) -> None:
    eventually(answers_on_udp, within_seconds=10, what="the game's greeting")
    record = running.record("minetest")
    assert record["install_state"] == "ready"
    held = accepted(stack.api("GET", "/network/ports/127.0.0.1/30000?protocol=udp"))
    assert held["in_use"] is True


def test_a_line_typed_at_the_console_reaches_the_game(console: EventSocket) -> None:
    word = secrets.token_hex(4)
    typed(console, word, f"you said {word}")


def test_it_survives_a_restart(stack: Stack, running: Servers, console: EventSocket) -> None:
    eventually(answers_on_udp, within_seconds=10, what="the game's greeting")
    seen = len(console.events)
    answer = running.act("minetest", "restart")
    assert stack.wait_for_job(answer["job_id"], 60)["state"] == "done"
    console.wait_for_state("running", 60, start=seen)
    eventually(answers_on_udp, within_seconds=10, what="the game's greeting")
    word = secrets.token_hex(4)
    typed(console, word, f"you said {word}")


def test_stop_lets_it_save_its_world(stack: Stack, running: Servers, console: EventSocket) -> None:
    typed(console, "build", "built")
    running.act("minetest", "stop")
    console.wait_for_console("Shutting down", 20)
    assert stack.wait_for_state("minetest", "ready", 30)["exit_code"] == 0
    assert (world_of(stack, running) / "map.sqlite").stat().st_size > 0
    assert not answers_on_udp()


def test_kill_ends_it_at_once(stack: Stack, running: Servers) -> None:
    running.act("minetest", "kill")
    assert stack.wait_for_state("minetest", "ready", 10)["exit_code"] == 137
    assert not answers_on_udp()


def test_its_world_outlives_a_reinstall(stack: Stack, game: Servers) -> None:
    if game.record("minetest")["state"] != "ready":
        game.act("minetest", "stop")
        stack.wait_for_state("minetest", "ready", 60)
    answer = game.act("minetest", "reinstall", {"image": UBUNTU, "install_script": INSTALL})
    assert stack.wait_for_job(answer["job_id"], 150)["state"] == "done"
    game.act("minetest", "start")
    stack.wait_for_state("minetest", "running", 60)
    eventually(answers_on_udp, within_seconds=10, what="the game's greeting")
    with stack.socket("minetest") as console:
        console.wait_for_state("running")
        typed(console, "look", "there is default:goldblock")
