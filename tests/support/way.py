"""A way to a process that can be cut or blocked: a Unix socket that passes everything on to that process's own."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType


class Way:
    """Passes connections to the socket at `path` on to the one at `target`, until `cut` or `hold`."""

    def __init__(self, target: str, path: Path) -> None:
        self._target = target
        self._path = path
        self.address = f"unix://{self._path}"
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._flows = threading.Event()
        self._flows.set()

    def hold(self) -> None:
        """Pass nothing on, in silence: connections stay, new ones are taken, and what is sent waits."""
        self._flows.clear()

    def release(self) -> None:
        """Pass on what waits, and all that comes."""
        self._flows.set()

    def mend(self) -> None:
        """Take connections (again)."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        self._begin(self._accept, self._listener)

    def cut(self) -> None:
        """End all connections and take no more."""
        assert self._listener
        self._flows.set()
        self._path.unlink(missing_ok=True)
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for connection in [self._listener, *self._connections]:
            connection.close()
        self._connections, self._threads = [], []

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.socket(socket.AF_UNIX)
                self._connections += [near, far]
                far.connect(self._target)
                for source, sink in ((near, far), (far, near)):
                    self._begin(self._pass_on, source, sink)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                sink.sendall(data)
            self._flows.wait()
            sink.shutdown(socket.SHUT_WR)

    def _begin(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)

    def __enter__(self) -> Way:
        self.mend()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()


def hold_all(ways: Iterable[Way], seconds: float) -> None:
    """Have nothing pass over any of these for so long."""
    for way in ways:
        way.hold()
    time.sleep(seconds)  # how long the outage lasts, not a wait for anything
    for way in ways:
        way.release()
