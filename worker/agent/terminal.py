"""The terminal of one running container, as far as input goes."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import socket
import termios
import time
from collections import deque

from fleet.errors import Conflict, EngineUnavailable
from worker.console.engine_http import EngineConnection, unreachable
from worker.runtime.base import EngineContainer

_UNREAD_BYTES = 4095
"""What the kernel keeps for a terminal's reader (n_tty(4)); the rest of a longer line would be cut off silently."""

_UNDER_WAY_SECONDS = 0.1
"""Longer than a line takes through the engine to the terminal."""

_WRITE_SECONDS = 2.0
_ROOM_SECONDS = 0.5
_DETACH_KEYS = "ctrl-^,ctrl-],ctrl-_,ctrl-@"
"""Nobody types these in this order; the engine's own default would let Ctrl-P Ctrl-Q end the attach."""


class Terminal:
    """An open way to a process's standard input. One thread at a time may use it."""

    def __init__(self, address: str, found: EngineContainer) -> None:
        self.engine_id = found.engine_id
        self.run = found.run
        self._pid = found.pid
        self._sent: deque[tuple[float, int]] = deque()
        self._connection = EngineConnection(address, _WRITE_SECONDS)
        try:
            self._attach()
        except OSError as error:
            self.close()
            raise unreachable(address) from error
        except Conflict:
            self.close()
            raise

    def write(self, data: bytes) -> None:
        """Write one line. Raises Conflict when the program does not read what it was given already."""
        deadline = time.monotonic() + _ROOM_SECONDS
        while not self._has_room(len(data)):
            if time.monotonic() > deadline:
                raise Conflict(
                    "The container is not accepting input; the command was not sent.", code="not_accepting_input"
                )
            time.sleep(0.01)
        try:
            self._connection.sock.sendall(data)
        except OSError as error:
            raise EngineUnavailable(
                "The engine did not take the command; see the console for whether it came."
            ) from error
        self._sent.append((time.monotonic(), len(data)))

    def is_open(self) -> bool:
        """Whether the engine still holds the other end. It does not always let go when the process ends."""
        connection = self._connection.sock
        try:
            poll = select.poll()  # unlike `select`, for any number of open files
            poll.register(connection, select.POLLIN)
            return not poll.poll(0) or connection.recv(1, socket.MSG_PEEK) != b""
        except (OSError, ValueError):
            return False

    def close(self) -> None:
        """Hang up; the process's terminal stays open."""
        self._connection.close()

    def _attach(self) -> None:
        self._connection.connect()
        request = (
            f"POST /containers/{self.engine_id}/attach?stream=1&stdin=1&stdout=0&stderr=0&detachKeys={_DETACH_KEYS}"
            " HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        )
        self._connection.sock.sendall(request.encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            received = self._connection.sock.recv(1)
            if not received:
                raise ConnectionError("the engine hung up")
            head += received
        answer = head.partition(b"\r\n")[0].decode("latin-1")
        if " 409 " in answer or " 404 " in answer:
            raise Conflict(
                "The container is not accepting input: it has just ended, or is paused in the engine; "
                "start or repair it.",
                code="not_accepting_input",
            )
        if " 101 " not in answer:
            raise ConnectionError(answer)

    def _has_room(self, size_bytes: int) -> bool:
        """What is under way may or may not have arrived, so it is counted on top."""
        now = time.monotonic()
        while self._sent and self._sent[0][0] < now - _UNDER_WAY_SECONDS:
            self._sent.popleft()
        under_way = sum(sent for _, sent in self._sent)
        return self._unread() + under_way + size_bytes <= _UNREAD_BYTES

    def _unread(self) -> int:
        """How many bytes wait for the process to read them; 0 where this cannot be seen from here."""
        counted = array.array("i", [0])
        try:
            terminal = os.open(f"/proc/{self._pid}/fd/0", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            with contextlib.suppress(OSError):
                fcntl.ioctl(terminal, termios.FIONREAD, counted)
        finally:
            os.close(terminal)
        return counted[0]
