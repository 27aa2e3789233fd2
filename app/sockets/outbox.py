"""What one peer is still to be sent: ordered, bounded, written by one greenlet at a time.

It stands in for the socket towards simple-websocket, so that pongs and close frames of that library queue up
with everything else. Without that, a short write to a slow reader would cut a frame in half.
"""

from __future__ import annotations

import errno
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from gevent.socket import wait_write

from app.sockets.flusher import Flusher

_CHUNK_BYTES = 64 * 1024
_STALLED_SECONDS = 30
_LONGEST_TURN_SECONDS = 0.05
_LINGER_BYTES = 1024 * 1024


class Gone(Exception):
    """The connection has ended."""


class Outbox:
    """The outgoing side of one connection. `on_overflow` is called once when more waits than may."""

    __slots__ = (
        "_broken",
        "_drained",
        "_due",
        "_flusher",
        "_limit_bytes",
        "_newest",
        "_read_all",
        "_read_at",
        "_sealed",
        "_sock",
        "_waiting",
        "_waiting_bytes",
        "_writer",
        "on_overflow",
    )

    def __init__(self, sock: Any, flusher: Flusher, limit_bytes: int) -> None:
        self._sock = sock
        self._flusher = flusher
        self._limit_bytes = limit_bytes
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._newest: dict[str, bytes] = {}
        self._due = False
        self._sealed = False
        self._broken = False
        self._read_all = False
        self._read_at = 0.0
        self._writer: gevent.Greenlet | None = None
        self._drained: Event | None = None
        self.on_overflow: Callable[[], None] | None = None

    # What simple-websocket calls.

    def send(self, data: bytes) -> int:
        """Queue bytes; says that all were taken, as a socket would that never writes short."""
        self.put(data)
        return len(data)

    def recv(self, size: int) -> bytes:
        """Read from the peer, which gets a fifth of this process's time at most when it sends without a pause."""
        if self._read_all:
            gevent.sleep(min(time.monotonic() - self._read_at, _LONGEST_TURN_SECONDS) * 4)
        received: bytes = self._sock.recv(size)
        self._read_all = len(received) == size
        self._read_at = time.monotonic()
        return received

    def close(self) -> None:
        """Nothing: gunicorn closes the socket when the request has ended, after the last byte is out."""

    # What everybody else calls.

    def put(self, data: bytes) -> None:
        """Queue one whole frame. After the last one (`seal`) nothing more is taken."""
        if self._sealed:
            return
        if self._waiting and self._waiting_bytes + len(data) > self._limit_bytes:
            if self.on_overflow:
                self.on_overflow()
            return
        self._append(data)

    def put_newest(self, data: bytes, about: str = "") -> None:
        """Queue a frame that makes the one before it about the same worthless: a slow peer gets the last of each."""
        if self._writer is None:
            self.put(data)
        elif not self._sealed:
            self._newest[about] = data

    def seal(self, *last: bytes, drop_waiting: bool = False) -> None:
        """Queue the last frames; then the sending side closes. `drop_waiting` forgets frames not yet begun."""
        if self._sealed:
            return
        if drop_waiting:
            self._waiting.clear()
            self._waiting_bytes = 0
        for frame in last:
            self._append(frame)
        self._sealed = True
        if not self._due:
            self._finish()

    @property
    def is_busy(self) -> bool:
        """Whether something is not yet handed to the kernel."""
        return self._due

    def wait_room(self) -> None:
        """Wait until little is queued. Raises Gone when nothing can be sent any more."""
        while self._waiting_bytes > self._limit_bytes // 4 and not self._sealed:
            self._wait_drained()
        if self._sealed:
            raise Gone

    def wait_empty(self, seconds: float) -> None:
        """Wait until all is written, at most so long."""
        with gevent.Timeout(seconds, False):
            while self._due and not self._broken:
                self._wait_drained()

    def cut(self) -> None:
        """End the connection in both directions at once; whoever reads or writes it notices."""
        self._sealed = self._broken = True
        self._waiting.clear()
        self._waiting_bytes = 0
        self._shutdown(socket.SHUT_RDWR)
        self._tell_drained()

    def linger(self, seconds: float) -> None:
        """Read on, so that what was sent last is not lost to a reset, until the peer closes too."""
        budget = _LINGER_BYTES
        with gevent.Timeout(seconds, False):
            while budget > 0 and not self._broken:
                try:
                    received = self._sock.recv(_CHUNK_BYTES)
                except OSError:
                    return
                if not received:
                    return
                budget -= len(received)

    def release(self) -> None:
        """Stop writing; the socket is about to be closed."""
        self._sealed = self._broken = True
        if self._writer is not None:
            self._writer.kill()

    def flush(self) -> None:
        """Write what waits as far as the kernel takes it now; called by the flusher."""
        if self._broken or not self._waiting:
            self._settle()
            return
        chunk = self._take()
        try:
            sent = self._sock.send(chunk, 0, 0.0)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                self.cut()
                return
            sent = 0
        if sent < len(chunk):
            self._writer = gevent.spawn(self._write_patiently, memoryview(chunk)[sent:])
        elif self._waiting:
            self._flusher.schedule(self)
        else:
            self._settle()

    def _write_patiently(self, rest: memoryview) -> None:
        """Write on when the peer has made room, until nothing waits. A peer that makes none is cut off."""
        fileno = self._sock.fileno()
        try:
            while True:
                while rest:
                    wait_write(fileno, _STALLED_SECONDS)
                    rest = rest[self._send_some(rest) :]
                if not self._waiting and not self._append_newest():
                    break
                rest = memoryview(self._take())
        except OSError:
            self.cut()
        self._writer = None
        self._settle()

    def _append_newest(self) -> bool:
        """Queue what was held back for a slow peer, if anything was."""
        frames, self._newest = self._newest, {}
        if not frames or self._sealed:
            return False
        for frame in frames.values():
            self._append(frame)
        return True

    def _send_some(self, data: memoryview) -> int:
        try:
            return int(self._sock.send(data, 0, 0.0))
        except BlockingIOError:
            return 0

    def _append(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if not self._due:
            self._due = True
            self._flusher.schedule(self)

    def _take(self) -> bytes:
        """The next frames in one piece; a frame is never split, so it may be larger than a chunk."""
        waiting = self._waiting
        chunk = waiting.popleft()
        if waiting and len(chunk) < _CHUNK_BYTES:
            parts, size = [chunk], len(chunk)
            while waiting and size + len(waiting[0]) <= _CHUNK_BYTES:
                parts.append(waiting.popleft())
                size += len(parts[-1])
            chunk = b"".join(parts)
        self._waiting_bytes -= len(chunk)
        if self._drained is not None:
            self._tell_drained()
        return chunk

    def _settle(self) -> None:
        """Nothing is under way any more."""
        self._due = False
        self._tell_drained()
        if self._sealed:
            self._finish()

    def _finish(self) -> None:
        if not self._broken:
            self._shutdown(socket.SHUT_WR)

    def _shutdown(self, how: int) -> None:
        try:
            self._sock.shutdown(how)
        except OSError:
            self._broken = True  # the peer was faster

    def _wait_drained(self) -> None:
        if self._drained is None:
            self._drained = Event()
        self._drained.clear()
        self._drained.wait()

    def _tell_drained(self) -> None:
        if self._drained is not None:
            self._drained.set()
