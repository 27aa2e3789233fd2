"""What a hostile client sends into a socket harms nobody but itself."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import pytest
from docker.models.images import Image

from tests.support.event_socket import EventSocket
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine

HANDSHAKE = (
    "GET /ws/{container}?token={token} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MASK = b"\0\0\0\0"
FRAMES = {
    "reserved bits": b"\xf1\x80" + MASK,
    "unknown opcode": b"\x8b\x80" + MASK,
    "not masked": b"\x81\x02{}",
    "huge length": b"\x81\xff" + struct.pack(">Q", 2**62) + MASK,
    "length above all": b"\x81\xff" + b"\xff" * 8 + MASK,
    "long ping": b"\x89\xfe" + struct.pack(">H", 1000) + MASK + b"x" * 1000,
    "bad UTF-8": b"\x81\x82" + MASK + b"\xff\xfe",
    "continuation of nothing": b"\x80\x82" + MASK + b"{}",
    "fragmented control": b"\x09\x80" + MASK,
    "bad close code": b"\x88\x82" + MASK + b"\x00\x01",
    "noise": bytes(range(256)) * 20,
}


@pytest.fixture(scope="module")
def reader(stack: Stack, busybox_image: Image) -> Iterator[str]:
    """A running container that repeats what it reads."""
    servers = Servers(stack)
    yield servers.run()
    servers.clean()


@pytest.fixture
def neighbour(stack: Stack, reader: str) -> Iterator[EventSocket]:
    """A well-behaved watcher of the same container, who after the test is still served."""
    with stack.socket(reader) as events:
        events.wait_for_state("running")
        yield events
        events.send({"event": "send_command", "command": "still served"})
        events.wait_for_console("got still served")


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_a_frame_against_the_rules_harms_nobody_else(
    stack: Stack, reader: str, neighbour: EventSocket, frame: bytes
) -> None:
    host, _, port = stack.address.partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        request = HANDSHAKE.format(container=reader, token=stack.token, address=stack.address)
        client.sendall(request.encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 101")
        client.sendall(frame)


@pytest.mark.parametrize("size", [65 * 1024, 5 * 2**20])
def test_a_message_above_the_limit_closes_its_own_connection(
    stack: Stack, reader: str, neighbour: EventSocket, size: int
) -> None:
    with stack.socket(reader) as events:
        events.wait_for_state("running")
        with suppress(BrokenPipeError, ConnectionResetError):  # it may be closed before all of it is sent
            events.send("x" * size)
        assert events.wait_closed(10) in (1009, None)


def test_a_client_that_sends_thousands_of_messages_is_slowed_or_closed(
    stack: Stack, reader: str, neighbour: EventSocket
) -> None:
    with stack.socket(reader) as events:
        events.wait_for_state("running")
        try:
            for _ in range(5000):
                events.send("{")
        except (BrokenPipeError, ConnectionResetError):
            return
        seen = len(neighbour.events)
        neighbour.send({"event": "send_command", "command": "hello"})
        neighbour.wait_for_console("got hello", start=seen)


def test_an_abrupt_end_of_a_hundred_connections_is_no_news_to_others(
    stack: Stack, reader: str, neighbour: EventSocket
) -> None:
    host, _, port = stack.address.partition(":")
    request = HANDSHAKE.format(container=reader, token=stack.token, address=stack.address).encode()
    for _ in range(100):
        with socket.create_connection((host, int(port)), timeout=60) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(request)
