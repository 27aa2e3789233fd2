"""What a peer is sent of frames of which only the newest counts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.socket
import pytest

from app.sockets.flusher import Flusher
from app.sockets.outbox import Outbox

LARGE = b"x" * 1_000_000
"""More than a small send buffer takes."""


class Line:
    """An outbox and its peer."""

    def __init__(self) -> None:
        ours, self._peer = gevent.socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self._ours: Any = ours
        self._flusher = Flusher()
        self.outbox = Outbox(ours, self._flusher, 2 * len(LARGE))

    def flush(self) -> None:
        """Until all that can be written at once is written."""
        self._flusher.wait_idle()

    def read(self) -> bytes:
        """All that the peer gets before the end."""
        self.outbox.seal()
        received = b""
        with gevent.Timeout(60):
            while part := self._peer.recv(1 << 20):
                received += part
        return received

    def read_so_far(self, size: int) -> bytes:
        """So many bytes."""
        received = b""
        with gevent.Timeout(60):
            while len(received) < size:
                received += self._peer.recv(size - len(received))
        return received

    def close(self) -> None:
        self.outbox.release()
        self._ours.close()
        self._peer.close()


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


def test_a_peer_that_reads_gets_each(line: Line) -> None:
    for frame in (b"1", b"2", b"3"):
        line.outbox.put_newest(frame)
        line.flush()
    assert line.read() == b"123"


def test_a_peer_that_is_behind_gets_only_the_newest_after_what_waits(line: Line) -> None:
    line.outbox.put(LARGE)
    line.flush()
    for number in range(1000):
        line.outbox.put_newest(b"%03d" % number)
    line.outbox.put(b"event")
    assert line.read_so_far(len(LARGE) + len(b"event999")) == LARGE + b"event999"
    line.outbox.put_newest(b"next")
    line.flush()
    assert line.read() == b"next"


def test_a_peer_that_is_behind_gets_the_newest_about_each(line: Line) -> None:
    line.outbox.put(LARGE)
    line.flush()
    for number in range(1000):
        line.outbox.put_newest(b"%03d" % number, str(number % 3))
    assert line.read_so_far(len(LARGE) + 9) == LARGE + b"999997998"


def test_what_is_held_back_is_never_too_much(line: Line) -> None:
    overflows: list[bool] = []
    line.outbox.on_overflow = lambda: overflows.append(True)
    line.outbox.put(LARGE)
    line.flush()
    for _ in range(100):
        line.outbox.put_newest(LARGE)
    assert overflows == []


def test_nothing_comes_after_the_last_frame(line: Line) -> None:
    line.outbox.put(LARGE)
    line.flush()
    line.outbox.put_newest(b"newest")
    line.outbox.seal(b"last")
    assert line.read() == LARGE + b"last"
