"""A long run of hostile clients, drawn at random from a seed: each is closed as it deserves, nobody else notices."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tests.sockets.conftest import Api
from tests.sockets.raw_socket import RawSocket
from tests.sockets.test_faults import Printer, numbers
from tests.support.deadline import eventually

SEED = 20
CLIENTS = 120
PROTOCOL_ERROR, BAD_TEXT, TOO_LARGE = 1002, 1007, 1009
END, CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x80, 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
BAD_UTF_8 = (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok\x80", b"\xe2\x28\xa1")
BAD_CLOSE_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)

Chance = random.Random
Offence = Callable[[RawSocket, Chance], int | None]
"""Breaks the rules over a socket; the code that it must be closed with, None when it just leaves."""


def reserved_bit(socket: RawSocket, chance: Chance) -> int:
    socket.send_frame(END | chance.choice((0x10, 0x20, 0x40, 0x70)) | chance.choice((TEXT, BINARY, PING)), b"{}")
    return PROTOCOL_ERROR


def reserved_opcode(socket: RawSocket, chance: Chance) -> int:
    socket.send_frame(END | chance.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)), chance.randbytes(chance.randrange(100)))
    return PROTOCOL_ERROR


def unmasked(socket: RawSocket, chance: Chance) -> int:
    socket.send_frame(END | chance.choice((TEXT, BINARY, PING, CLOSE)), b"{}", masked=False)
    return PROTOCOL_ERROR


def control_in_fragments(socket: RawSocket, chance: Chance) -> int:
    socket.send_frame(chance.choice((CLOSE, PING, PONG)), b"")
    return PROTOCOL_ERROR


def long_control(socket: RawSocket, chance: Chance) -> int:
    socket.send_frame(END | chance.choice((CLOSE, PING, PONG)), b"x" * chance.randrange(126, 2000))
    return PROTOCOL_ERROR


def bad_text(socket: RawSocket, chance: Chance) -> int:
    payload = b"x" * chance.randrange(50) + chance.choice(BAD_UTF_8) + b"x" * chance.randrange(50)
    cut = chance.randrange(len(payload))
    if chance.random() < 0.5:
        socket.send_frame(END | TEXT, payload)
    else:
        socket.send_frame(TEXT, payload[:cut])
        socket.send_frame(END | CONTINUATION, payload[cut:])
    return BAD_TEXT


def half_a_character(socket: RawSocket, chance: Chance) -> int:
    socket.send_frame(END | TEXT, "\u20ac".encode()[: chance.randrange(1, 3)])
    return BAD_TEXT


def bad_close(socket: RawSocket, chance: Chance) -> int:
    if chance.random() < 0.2:
        socket.send_frame(END | CLOSE, b"\x03")
        return PROTOCOL_ERROR
    if chance.random() < 0.2:
        socket.send_frame(END | CLOSE, struct.pack("!H", 1000) + chance.choice(BAD_UTF_8))
        return BAD_TEXT
    socket.send_frame(END | CLOSE, struct.pack("!H", chance.choice(BAD_CLOSE_CODES)) + b"bye")
    return PROTOCOL_ERROR


def good_close(socket: RawSocket, chance: Chance) -> int:
    code = chance.choice((1000, 1001, 1011, 3000, 4999))
    socket.send_frame(END | CLOSE, struct.pack("!H", code) + b"bye")
    return code


def out_of_order(socket: RawSocket, chance: Chance) -> int:
    if chance.random() < 0.5:
        socket.send_frame(END | CONTINUATION, b"of nothing")
    else:
        socket.send_frame(TEXT, b"never ended")
        socket.send_frame(END | chance.choice((TEXT, BINARY)), b"and already the next")
    return PROTOCOL_ERROR


def length_that_no_one_may_claim(socket: RawSocket, chance: Chance) -> int:
    longest, padded = struct.pack("!BBQ", END | TEXT, 0xFF, 2**63), struct.pack("!BBH", END | TEXT, 0xFE, 5)
    socket.socket.sendall(chance.choice((longest, padded)) + b"\0" * 4)
    return PROTOCOL_ERROR


def too_large(socket: RawSocket, chance: Chance) -> int:
    kind, claimed = chance.choice((TEXT, BINARY)), chance.choice((None, 2**40, 2**62))
    if chance.random() < 0.5:
        socket.send_frame(END | kind, b"x" * 66_000, length=claimed)
    else:
        socket.send_frame(kind, b"x" * 40_000)
        socket.send_frame(CONTINUATION, b"x" * 40_000)
    return TOO_LARGE


def vanishing(socket: RawSocket, chance: Chance) -> None:
    """Leaves in the middle of a frame, now and then with a reset."""
    socket.send_frame(END | TEXT, chance.randbytes(chance.randrange(20)), length=chance.choice((50, 5000, 2**50)))
    if chance.random() < 0.5:
        socket.reset()


OFFENCES: tuple[Offence, ...] = (
    reserved_bit,
    reserved_opcode,
    unmasked,
    control_in_fragments,
    long_control,
    bad_text,
    half_a_character,
    bad_close,
    good_close,
    out_of_order,
    length_that_no_one_may_claim,
    too_large,
    vanishing,
)


def behave(socket: RawSocket, chance: Chance) -> None:
    """What is allowed, however odd: many pings, answers to none, messages in pieces and of bytes."""
    for _ in range(chance.randrange(5)):
        kind = chance.randrange(4)
        if kind == 0:
            for _ in range(chance.choice((1, 3, 300))):
                socket.send_frame(END | PING, chance.randbytes(chance.randrange(126)))
        elif kind == 1:
            socket.send_frame(END | PONG, b"to nothing")
        elif kind == 2:
            socket.send_frame(END | BINARY, chance.randbytes(chance.randrange(300)))
        else:
            for byte in '{"event": "fl\u00fc'.encode():
                socket.send_frame(TEXT if byte == ord("{") else CONTINUATION, bytes([byte]))
                socket.send_frame(END | PING, b"")
            socket.send_frame(END | CONTINUATION, b'"}')


def test_hostile_clients_are_closed_as_they_deserve_and_nobody_else_notices(own_api: Api) -> None:
    api, chance = own_api, random.Random(SEED)
    api.create("c")
    with api.socket("c", since=0) as good:
        good.wait_for_state("running")
        with Printer(api, "c") as printer:
            _attack(api, chance, 20)
            before = eventually(lambda: _at_rest(api), within_seconds=20, what="rest")
            _attack(api, chance, CLIENTS)
            after = eventually(lambda: _at_rest(api), within_seconds=20, what="rest")
        good.wait_for_console(f"line {printer.count - 1}\n")
        assert numbers(good) == list(range(printer.count))
        assert not [event for event in good.events if event["event"] == "daemon_message"]
    assert after["watches"] == before["watches"]
    assert after["greenlets"] <= before["greenlets"] + 5, "some are always just at work"
    assert after["descriptors"] <= before["descriptors"] + CLIENTS // 4, "connections to the stores are kept for later"
    eventually(lambda: api.places() == {}, within_seconds=10, what="nobody counted")
    assert "Traceback" not in api.log()


def _attack(api: Api, chance: Chance, clients: int) -> None:
    offences = [OFFENCES[number % len(OFFENCES)] for number in range(clients)]
    chance.shuffle(offences)
    for offence in offences:
        url = chance.choice((api.url("c"), api.url("c", since=0), api.many_url()))
        with RawSocket(url) as socket:
            behave(socket, chance)
            code = offence(socket, chance)
            if code is not None:
                assert socket.close_code() == code, offence.__name__


def _at_rest(api: Api) -> dict[str, int]:
    held = api.held()
    return held if held["clients"] == 1 else {}
