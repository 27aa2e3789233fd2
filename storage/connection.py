"""A connection that may be given up at any time: before every wait and every second of it, it asks whether to."""

from __future__ import annotations

import io
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TypeVar

_LOOK_UP_SECONDS = 1.0

_Done = TypeVar("_Done")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the other side may be silent, and what is asked whether to go on: it raises to give up.

    It is asked while something comes too, whatever that is: a head that trickles in is no answer yet.
    """

    silence_seconds: float
    look_up: Callable[[], None]

    def wait_for(self, step: Callable[[], _Done]) -> _Done:
        """Do a step on a socket with a short time limit, again and again; raises TimeoutError after all silence."""
        silent_too_long_at = time.monotonic() + self.silence_seconds
        while True:
            self.look_up()
            try:
                return step()
            except TimeoutError:
                if time.monotonic() >= silent_too_long_at:
                    raise


class Line:
    """An open connection, as `http.client` wants one. Closing it is left to `connected`."""

    def __init__(self, connection: socket.socket, patience: Patience) -> None:
        self._connection = connection
        self._patience = patience

    def sendall(self, data: bytes) -> None:
        """Send all of a request."""
        self._connection.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What the other side sends."""
        return io.BufferedReader(_Incoming(self._connection, self._patience))

    def close(self) -> None:
        """The answer may still have to be read."""


class _Incoming(io.RawIOBase):
    def __init__(self, connection: socket.socket, patience: Patience) -> None:
        self._connection = connection
        self._patience = patience

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._patience.wait_for(lambda: self._connection.recv_into(buffer))


@contextmanager
def connected(
    family: socket.AddressFamily, address: tuple[str, int], tls_name: str | None, patience: Patience
) -> Iterator[Line]:
    """Hold a connection to an IP address open, with TLS where a name is given that the certificate must have.

    Raises OSError, TimeoutError when the other side is silent for too long, and what `patience` raises.
    """
    with closing(socket.socket(family, socket.SOCK_STREAM)) as plain:
        _connect(plain, address, patience)
        plain.settimeout(min(_LOOK_UP_SECONDS, patience.silence_seconds))
        if tls_name is None:
            yield Line(plain, patience)
            return
        context = ssl.create_default_context()
        with context.wrap_socket(plain, server_hostname=tls_name, do_handshake_on_connect=False) as secure:
            patience.wait_for(secure.do_handshake)
            yield Line(secure, patience)


def _connect(plain: socket.socket, address: tuple[str, int], patience: Patience) -> None:
    plain.setblocking(False)
    plain.connect_ex(address)
    waiting = select.poll()  # `select` itself knows no descriptor beyond 1024
    waiting.register(plain, select.POLLOUT)

    def answered() -> None:
        if not waiting.poll(min(_LOOK_UP_SECONDS, patience.silence_seconds) * 1000):
            raise TimeoutError

    patience.wait_for(answered)
    code = plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
