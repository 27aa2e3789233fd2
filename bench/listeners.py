"""Many WebSocket clients in one process of their own, which costs as little as it can beside what it measures.

While they listen, what came is only noted with its time; it is taken apart afterwards. Programs print lines of
`<number> <unix seconds> …`, numbered from 0 without a gap.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from scripts.precedence import take_precedence

_READ_BYTES = 1 << 18
_QUIET_SECONDS = 1.0
_LONGEST_QUIET_SECONDS = 60
_ANSWER_SECONDS = 240
_INTERN_BYTES = 4096
_TEXT, _CLOSE = 0x81, 0x88
_PING, _PONG = b"\x89\x00", b"\x8a\x80\x00\x00\x00\x00"


class Wanted(NamedTuple):
    """One socket: the path and query to open, and the first message to send there, if any."""

    path: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came since the listening began: console frames and lines of all sockets, how old each line was on arrival.

    `lines_wrong` counts those that did not follow the line before, `closed` the sockets that the server closed.
    """

    frames: int
    lines: int
    lines_wrong: int
    delays_seconds: list[float]
    closed: int
    first_at: float
    last_at: float

    @property
    def lines_per_second(self) -> float:
        """The rate from the first to the last arrival."""
        return self.lines / (self.last_at - self.first_at)


class Listeners:
    """Sockets held by a child process. Use it in a `with`; `begin` forgets what came before, `end` tells what came."""

    def __init__(self, address: str, wanted: Sequence[Wanted]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_listen, args=(address, list(wanted), theirs))
        self._process.start()
        theirs.close()
        self._answer()

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(_ANSWER_SECONDS)

    def begin(self) -> None:
        """Count from now on."""
        self._pipe.send("begin")
        self._answer()

    def end(self) -> Heard:
        """Stop counting, and take apart what came."""
        self._pipe.send("end")
        return self._told()

    def end_when_quiet(self) -> Heard:
        """The same, when nothing has come for a second."""
        self._pipe.send("end when quiet")
        return self._told()

    def _told(self) -> Heard:
        heard = self._answer()
        assert isinstance(heard, Heard)
        return heard

    def _answer(self) -> object:
        if not self._pipe.poll(_ANSWER_SECONDS):
            raise AssertionError("The listeners do not answer.")
        answer: object = self._pipe.recv()
        return answer


class _Arrival(NamedTuple):
    at: float
    fileno: int
    data: bytes


class _Sockets:
    """The child's side."""

    def __init__(self, address: str, wanted: Sequence[Wanted]) -> None:
        self._arrivals: list[_Arrival] = []
        self._same: dict[bytes, bytes] = {}
        self._begun_at = 0.0
        self._poll = select.epoll()
        self._sockets = {}
        for one in wanted:
            sock = _connect(address, one)
            self._sockets[sock.fileno()] = sock
            self._poll.register(sock, select.EPOLLIN)

    def listen(self, pipe: Connection) -> str:
        """Note what comes until an order does; '' when its giver is gone."""
        self._poll.register(pipe, select.EPOLLIN)
        try:
            while not self.take(-1, pipe.fileno()):
                pass
            return str(pipe.recv())
        except EOFError:
            return ""
        finally:
            self._poll.unregister(pipe)

    def take(self, seconds: float, besides: int = -1) -> bool:
        """Wait for data once and note it; whether there was none, or `besides` is ready."""
        ready = self._poll.poll(seconds)
        for fileno, _ in ready:
            if fileno == besides:
                return True
            data = self._sockets[fileno].recv(_READ_BYTES)
            at = time.time()
            if not data:
                self._poll.unregister(fileno)
            elif len(data) < _INTERN_BYTES:
                data = self._same.setdefault(data, data)
            if data[-2:] == _PING:
                self._sockets[fileno].sendall(_PONG)
            self._arrivals.append(_Arrival(at, fileno, data))
        return not ready

    def wait_quiet(self) -> None:
        """Note what comes until nothing has come for a while."""
        ends_at = time.monotonic() + _LONGEST_QUIET_SECONDS
        while time.monotonic() < ends_at and not self.take(_QUIET_SECONDS):
            pass

    def begin(self) -> None:
        """Count what comes from now on."""
        self._begun_at = time.time()

    def heard(self) -> Heard:
        """Take apart what came."""
        by_socket: dict[int, list[_Arrival]] = {}
        for arrival in self._arrivals:
            by_socket.setdefault(arrival.fileno, []).append(arrival)
        tally = _Tally(self._begun_at)
        for arrivals in by_socket.values():
            tally.add_socket(arrivals)
        return tally.heard()


class _Tally:
    """Counts frames and lines; each different frame is decoded once."""

    def __init__(self, begun_at: float) -> None:
        self._begun_at = begun_at
        self._decoded: dict[bytes, tuple[str, list[tuple[int, float]]] | None] = {}
        self._frames = self._lines = self._wrong = self._closed = 0
        self._delays: list[float] = []
        self._first_at, self._last_at = float("inf"), 0.0

    def add_socket(self, arrivals: Sequence[_Arrival]) -> None:
        """All that one socket got."""
        due: dict[str, int] = {}
        for at, frame in _frames(arrivals):
            if not frame or frame[0] == _CLOSE:
                self._closed += 1
                return
            console = self._console(frame) if frame[0] == _TEXT and at >= self._begun_at else None
            if console is None:
                continue
            server, lines = console
            self._frames += 1
            self._lines += len(lines)
            self._first_at, self._last_at = min(self._first_at, at), max(self._last_at, at)
            for number, printed_at in lines:
                self._wrong += number != due.get(server, number)
                due[server] = number + 1
                self._delays.append(at - printed_at)

    def heard(self) -> Heard:
        """What was counted."""
        return Heard(self._frames, self._lines, self._wrong, self._delays, self._closed, self._first_at, self._last_at)

    def _console(self, frame: bytes) -> tuple[str, list[tuple[int, float]]] | None:
        if frame not in self._decoded:
            self._decoded[frame] = _console_lines(json.loads(_payload(frame)))
        return self._decoded[frame]


def _listen(address: str, wanted: Sequence[Wanted], pipe: Connection) -> None:
    os.setsid()
    take_precedence()  # elsewhere clients don't share processors with the containers that they watch
    sockets = _Sockets(address, wanted)
    gc.disable()  # a collection would look at every arrival, and delay those that come meanwhile
    pipe.send("connected")
    while order := sockets.listen(pipe):
        if order == "begin":
            sockets.begin()
            pipe.send("begun")
            continue
        if order == "end when quiet":
            sockets.wait_quiet()
        pipe.send(sockets.heard())


def _connect(address: str, wanted: Wanted) -> socket.socket:
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host, int(port)), timeout=30)
    sock.sendall(
        f"GET {wanted.path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise AssertionError(f"The handshake was refused: {head!r}")
        head += byte
    assert b" 101 " in head.partition(b"\r\n")[0], head
    if wanted.message:
        payload = wanted.message.encode()
        sock.sendall(bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload)  # a mask of zeros changes nothing
    return sock


def _frames(arrivals: Sequence[_Arrival]) -> Iterator[tuple[float, bytes]]:
    """Whole frames with their header, each with the time at which its end came; an empty one for the end of all."""
    rest = b""
    for arrival in arrivals:
        if not arrival.data:
            yield arrival.at, b""
        data, at = (rest + arrival.data if rest else arrival.data), 0
        while (end := _frame_end(data, at)) <= len(data):
            yield arrival.at, data[at:end] if at or end < len(data) else data
            at = end
        rest = data[at:]


def _frame_end(data: bytes, at: int) -> int:
    """Where the frame that begins at `at` ends; beyond the data while that is not known."""
    if len(data) < at + 10 and (len(data) < at + 2 or data[at + 1] > 125):
        return len(data) + 1
    length = data[at + 1]
    if length == 126:
        return at + 4 + int.from_bytes(data[at + 2 : at + 4], "big")
    if length == 127:
        return at + 10 + int.from_bytes(data[at + 2 : at + 10], "big")
    return at + 2 + length


def _payload(frame: bytes) -> bytes:
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


def _console_lines(event: dict[str, Any]) -> tuple[str, list[tuple[int, float]]] | None:
    if event["event"] != "console":
        return None
    lines = [line.split(" ", 2) for line in event["data"].splitlines()]
    return event.get("server", ""), [(int(words[0]), float(words[1])) for words in lines]
