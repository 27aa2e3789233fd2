"""A way to the engine that can be cut: a socket that passes everything on to the engine's own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from fleet.settings import Settings


class EngineThroughSocket:
    """Passes connections on to the engine until `cut`, and again after `mend`."""

    def __init__(self, settings: Settings) -> None:
        self._engine = settings.engine.removeprefix("unix://")
        self._path = Path(settings.data) / "engine.sock"
        self.address = f"unix://{self._path}"
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None

    def mend(self) -> None:
        """Take connections (again)."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        self._begin(self._accept, self._listener)

    def cut(self) -> None:
        """End all connections and take no more."""
        assert self._listener
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
                far.connect(self._engine)
                for source, sink in ((near, far), (far, near)):
                    self._begin(_pass_on, source, sink)

    def _begin(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)

    def __enter__(self) -> EngineThroughSocket:
        self.mend()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
