"""Whatever bytes a client sends, it harms only itself."""

from __future__ import annotations

import contextlib
import json
import os
import random
import statistics
import struct
import threading
import time
import zlib

import pytest

from tests.sockets.conftest import Api
from tests.sockets.raw_socket import RawSocket
from tests.support.deadline import PATIENCE, eventually

TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
CONTINUED_TEXT, LAST_PART = 0x01, 0x80


def error_of(socket: RawSocket) -> str:
    """The next error that the client is told."""
    for opcode, payload in socket.frames():
        if opcode == 1:
            message = json.loads(payload)
            if message["data"].startswith("Error: "):
                return str(message["data"])
    raise AssertionError("the connection ended")


def test_compression_is_not_taken(api: Api, name: str) -> None:
    with RawSocket(api.url(name)) as socket:
        assert b"permessage-deflate" not in socket.response
        socket.send_frame(0xC1, zlib.compress(b"x" * 10_000_000)[:60_000])
        assert socket.close_code() == 1002


def test_a_binary_frame_is_an_error_and_the_socket_stays(api: Api, name: str) -> None:
    with RawSocket(api.url(name)) as socket:
        socket.send_frame(BINARY, os.urandom(1000))
        assert "text frames" in error_of(socket)
        socket.send_frame(TEXT, b'{"event": "fly"}')
        assert "Unknown event" in error_of(socket)


def test_a_message_in_fragments_with_pings_between_is_one_message(api: Api, name: str) -> None:
    with RawSocket(api.url(name)) as socket:
        message = '{"event": "flü"}'.encode()
        for index, byte in enumerate(message):
            socket.send_frame(CONTINUED_TEXT if index == 0 else 0x00, bytes([byte]))
            socket.send_frame(PING, b"still here?")
        socket.send_frame(LAST_PART, b"")
        answers = []
        for answer in socket.frames():
            answers.append(answer)
            if len(answers) == 1 + 1 + len(message):
                break
        assert answers.count((0xA, b"still here?")) == len(message)
        assert b"Unknown event 'fl" in b"".join(payload for _, payload in answers)


@pytest.mark.parametrize(
    ("first", "payload", "code"),
    [
        (TEXT, b"\xff\xfe\xfd", 1007),
        (TEXT, b"\xed\xa0\x80", 1007),
        (0x83, b"reserved opcode", 1002),
        (0x91, b"reserved bit", 1002),
        (LAST_PART, b"continues nothing", 1002),
        (0x09, b"a ping in fragments", 1002),
        (PING, b"x" * 126, 1002),
        (CLOSE, b"\x03", 1002),
        (CLOSE, struct.pack("!H", 1005), 1002),
        (CLOSE, struct.pack("!H", 1000) + b"\xff\xff", 1007),
    ],
)
def test_a_frame_against_the_protocol_closes_that_socket(
    api: Api, name: str, first: int, payload: bytes, code: int
) -> None:
    with RawSocket(api.url(name)) as socket:
        socket.send_frame(first, payload)
        assert socket.close_code() == code


def test_an_unmasked_frame_closes_that_socket(api: Api, name: str) -> None:
    with RawSocket(api.url(name)) as socket:
        socket.send_frame(TEXT, b"{}", masked=False)
        assert socket.close_code() == 1002


def test_a_message_beyond_the_limit_is_closed_with_1009(api: Api, name: str) -> None:
    with RawSocket(api.url(name)) as socket:
        socket.send_frame(TEXT, b"x" * 65_537)
        assert socket.close_code() == 1009


def test_endless_fragments_are_closed_with_1009(api: Api, name: str) -> None:
    with RawSocket(api.url(name)) as socket:
        socket.send_frame(CONTINUED_TEXT, b"x" * 1000)
        for _ in range(100):
            socket.send_frame(0x00, b"x" * 1000)
        assert socket.close_code() == 1009


def test_a_huge_claimed_length_costs_nothing(api: Api, name: str) -> None:
    with RawSocket(api.url(name)) as socket, api.socket(name) as other:
        socket.send_frame(TEXT, b"x" * 1000, length=2**62)
        other.send({"event": "fly"})
        other.wait_for(lambda event: "Unknown event" in event["data"])
        socket.send_frame(TEXT, b"x" * 70_000)
        assert socket.close_code() in (1007, 1009)


def test_a_close_is_answered_with_its_code(api: Api, name: str) -> None:
    with RawSocket(api.url(name)) as socket:
        socket.send_frame(CLOSE, struct.pack("!H", 3000) + b"bye")
        assert socket.close_code() == 3000


def test_random_bytes_harm_no_other_client(api: Api, name: str) -> None:
    api.create(name)
    chance = random.Random(7)
    with api.socket(name) as other:
        other.wait_for_state("running")
        for number in range(150):
            with RawSocket(api.url(name)) as socket:
                for _ in range(chance.randrange(1, 4)):
                    if chance.random() < 0.5:
                        socket.send_frame(chance.randrange(256), chance.randbytes(chance.randrange(200)))
                    else:
                        socket.socket.sendall(chance.randbytes(chance.randrange(1, 400)))
            if number % 30 == 0:
                api.print(name, f"line {number}")
                other.wait_for_console(f"line {number}")
        eventually(lambda: api.held()["clients"] == 1, within_seconds=10, what="the end of the hostile clients")
    assert "handler failed" not in api.log()


def test_a_flood_of_pings_whose_answers_are_never_read_delays_nobody(api: Api, name: str) -> None:
    api.create(name)
    delays = []
    with api.socket(name) as other, RawSocket(api.url(name), receive_buffer_bytes=4096) as hostile:
        other.wait_for_state("running")
        flood = threading.Thread(target=_flood, args=(hostile, 3), daemon=True)
        flood.start()
        while flood.is_alive():
            began = time.monotonic()
            seq = api.print(name, "still here")
            other.wait_for(lambda event, seq=seq: event.get("seq") == seq)
            delays.append(time.monotonic() - began)
        flood.join()
    assert statistics.median(delays) < 0.1 * PATIENCE


def _flood(hostile: RawSocket, seconds: float) -> None:
    """Send pings as fast as the server takes them."""
    pings = b"\x89\xfd\x00\x00\x00\x00" + b"x" * 125
    hostile.socket.settimeout(seconds)
    ends_at = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while time.monotonic() < ends_at:
            hostile.socket.sendall(pings * 30)
