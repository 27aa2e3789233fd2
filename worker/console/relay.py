"""The log of one engine container from its first to its last byte, for whoever waits for the end of it."""

from __future__ import annotations

import itertools
import select
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import structlog
from redis.exceptions import RedisError

from fleet.console import Append, Console
from fleet.errors import EngineUnavailable
from fleet.settings import Settings
from worker.console.engine_http import EngineConnection, get_json, open_stream
from worker.console.inotify import FolderWatch
from worker.console.log_file import readable_log
from worker.console.transfer import Transfer

TAIL_BYTES = 64 * 1024
_READ_BYTES = 256 * 1024
_LOOK_SECONDS = 0.25
_ASK_SECONDS = 5.0
_RETRY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)

T = TypeVar("T")

log = structlog.get_logger()


def relay(
    console: Console, settings: Settings, container_id: str, engine_id: str, should_stop: Callable[[], bool]
) -> bytes:
    """Pass the output of a started engine container on to a console until its process has ended.

    Answers the last 64 KiB of what this call passed on. Continues where an earlier reader of the same engine
    container stopped. While the store or the engine is away it waits; `should_stop` is asked several times a
    second and ends it early. Raises EngineUnavailable when the engine's log files cannot be read from here.
    """
    path = _log_path(settings, engine_id, should_stop)
    if path is None:
        return b""
    position = _retried(lambda: console.position(container_id, engine_id), should_stop)
    if position is None:
        return b""
    transfer = Transfer(container_id, engine_id, path, position, settings.console_lines_per_second)
    with closing(transfer), closing(FolderWatch()) as watch:
        watch.add(path.parent)
        return _pump(console, transfer, watch, _End(settings, engine_id), should_stop)


def _pump(
    console: Console, transfer: Transfer, watch: FolderWatch, end: _End, should_stop: Callable[[], bool]
) -> bytes:
    tail = b""
    try:
        while not should_stop():
            ended = end.reached()
            batch = transfer.collect(_READ_BYTES, ended=ended)
            if batch:
                position = _retried(lambda batch=batch: console.append(batch)[-1][1], should_stop)  # type: ignore[misc]
                if position is None:
                    break
                tail = _tail(tail, batch)
                transfer.settle(position)
            elif ended:
                break
            else:
                select.select([watch.fileno(), *end.waitable()], [], [], _LOOK_SECONDS)
                watch.changed()
    finally:
        end.close()
    return tail


class _End:
    """Whether the process has ended. The engine says so only after the last byte is in the log."""

    def __init__(self, settings: Settings, engine_id: str) -> None:
        self._settings = settings
        self._path = f"/containers/{engine_id}/wait?condition=not-running"
        self._connection: EngineConnection | None = None
        self._answer = b""

    def waitable(self) -> list[int]:
        """What becomes readable when the process ends."""
        return [self._connection.sock.fileno()] if self._connection and self._connection.sock else []

    def reached(self) -> bool:
        """Look, without waiting; a connection lost with the engine is made again at the next look."""
        try:
            if self._connection is None:
                self._connection = open_stream(self._settings.engine, "POST", self._path, _ASK_SECONDS)
            while select.select(self.waitable(), [], [], 0)[0]:
                received = self._connection.sock.recv(4096)
                if not received:
                    self.close()
                    return False
                self._answer += received
        except (EngineUnavailable, OSError):
            self.close()
            return False
        return b'"StatusCode"' in self._answer or self._answer.startswith(b"HTTP/1.1 404")

    def close(self) -> None:
        """Give the connection back."""
        if self._connection:
            self._connection.close()
        self._connection, self._answer = None, b""


def _log_path(settings: Settings, engine_id: str, should_stop: Callable[[], bool]) -> Path | None:
    """Where the engine writes the log; None when stopped before it could be asked, or nothing was ever started."""
    while True:
        try:
            state = get_json(settings.engine, f"/containers/{engine_id}/json", settings.engine_timeout_seconds)
            break
        except EngineUnavailable:
            if should_stop():
                return None
            time.sleep(_RETRY_SECONDS[-1])
    if not state or not state["LogPath"]:
        return None
    return readable_log(state["LogPath"])


def _retried(call: Callable[[], T], should_stop: Callable[[], bool]) -> T | None:
    """The answer of the stream store, waiting while it is away; None when stopped meanwhile."""
    for tries in itertools.count():
        try:
            return call()
        except RedisError:
            if tries == 0:
                log.warning("the stream store does not answer; waiting for it")
        if should_stop():
            return None
        time.sleep(_RETRY_SECONDS[min(tries, len(_RETRY_SECONDS) - 1)])
    return None


def _tail(tail: bytes, batch: Sequence[Append]) -> bytes:
    return b"".join([tail, *(item.data for item in batch)])[-TAIL_BYTES:]
