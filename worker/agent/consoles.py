"""The consoles of all running containers of this host: one thread that follows their log files.

The log files are the buffer: a round reads what has been written, sends it in one round trip, and only then goes
on. So a slow or absent stream store makes the reader wait and costs no memory, and nothing is lost.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from redis.exceptions import RedisError

from fleet.console import Append, Console
from fleet.errors import EngineUnavailable
from worker.agent.duty import Outage
from worker.console.inotify import FolderWatch
from worker.console.log_file import readable_log
from worker.console.transfer import Transfer

_READ_BYTES = 128 * 1024
_ROUND_BYTES = 2 * 1024 * 1024
_PAUSE_SECONDS = 0.004
_FLOOD_PAUSE_SECONDS = 0.02
_FLOOD_BYTES = 64 * 1024
_IDLE_SECONDS = 1.0

log = structlog.get_logger()


@dataclass(eq=False)
class _Followed:
    """One engine container whose log is being passed on."""

    container_id: str
    engine_id: str
    path: Path
    transfer: Transfer | None = None
    written: bool = True
    ended: bool = False
    let_go: bool = False
    served: float = 0.0
    passed_on: threading.Event = field(default_factory=threading.Event)


class Consoles:
    """Follows logs. All methods may be called from any thread; `run` is the thread's own."""

    def __init__(self, console: Console, lines_per_second: int = 0) -> None:
        self._console = console
        self._lines_per_second = lines_per_second
        self._watch = FolderWatch()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._followed: dict[str, _Followed] = {}
        self._folders: dict[Path, _Followed] = {}
        self._outage = Outage("the stream store")
        self._next_send = 0.0
        self._next_owed = 0.0

    def follow(self, container_id: str, engine_id: str, path: Path) -> None:
        """Pass on what this engine container writes, from where its console stands; fine when that is done already."""
        with self._lock:
            known = self._followed.get(engine_id)
            if known is None:
                known = self._followed[engine_id] = _Followed(container_id, engine_id, path)
                self._folders[path.parent] = known
            else:
                known.ended, known.written = False, True
                known.passed_on.clear()
        os.eventfd_write(self._wake, 1)

    def end(self, engine_id: str, seconds: float = 0) -> bool:
        """The process has ended: pass on the rest and follow no more. Answers whether that was done in time."""
        with self._lock:
            known = self._followed.get(engine_id)
            if known is None:
                return True
            known.ended = known.written = True
        os.eventfd_write(self._wake, 1)
        return known.passed_on.wait(seconds) if seconds else False

    def let_go(self) -> None:
        """Follow nothing any more; who is followed again is read from where its console then stands."""
        with self._lock:
            for known in self._followed.values():
                known.let_go = known.written = True
        os.eventfd_write(self._wake, 1)

    def followed(self) -> set[str]:
        """The containers whose process runs, as far as their consoles know."""
        with self._lock:
            return {one.container_id for one in self._followed.values() if not one.ended}

    def run(self, stop: threading.Event) -> None:
        """Follow until `stop` is set."""
        while not stop.is_set():
            busy = self._round(stop)
            ready = select.select([self._watch.fileno(), self._wake], [], [], 0 if busy else _IDLE_SECONDS)[0]
            if ready:
                self._take_notice()
            self._remember_owed()

    def _take_notice(self) -> None:
        with self._lock:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            for folder in self._watch.changed():
                if folder in self._folders:
                    self._folders[folder].written = True

    def _remember_owed(self) -> None:
        """Once in a while, look again at what owes its watchers a notice."""
        if time.monotonic() < self._next_owed:
            return
        self._next_owed = time.monotonic() + _IDLE_SECONDS
        with self._lock:
            for followed in self._followed.values():
                if followed.transfer and followed.transfer.owes_notice:
                    followed.written = True

    def _round(self, stop: threading.Event) -> bool:
        """Read and send once; whether there may be more to do at once."""
        with self._lock:
            waiting = [followed for followed in self._followed.values() if followed.written]
        if not waiting:
            return False
        stop.wait(max(0.0, self._next_send - time.monotonic()))
        try:
            sent_bytes = self._send(self._collected(waiting))
        except RedisError as error:
            for followed in waiting:
                followed.written = True
            stop.wait(self._outage.failed(error))
            return True
        self._outage.over()
        pause = _FLOOD_PAUSE_SECONDS if sent_bytes > _FLOOD_BYTES else _PAUSE_SECONDS
        self._next_send = time.monotonic() + pause if sent_bytes else 0.0
        return True

    def _collected(self, waiting: list[_Followed]) -> Iterator[tuple[_Followed, list[Append]]]:
        """What has been written, up to the size of a round; those who waited longest come first."""
        round_bytes = 0
        for followed in sorted(waiting, key=lambda one: one.served):
            if round_bytes > _ROUND_BYTES:
                return
            followed.served = time.monotonic()
            batch = self._collect(followed)
            if batch:
                round_bytes += sum(len(item.data) for item in batch)
                yield followed, batch

    def _collect(self, followed: _Followed) -> list[Append]:
        if followed.let_go:
            self._drop(followed, although_written=True)
            return []
        ended = followed.ended
        followed.written = False
        try:
            transfer = followed.transfer = followed.transfer or self._begin(followed)
            batch = transfer.collect(_READ_BYTES, ended=ended)
        except (OSError, ValueError, EngineUnavailable) as error:  # is no reason for other consoles to stand still
            if not ended:
                log.error("a container's log cannot be read", container=followed.container_id, reason=str(error))
            self._drop(followed, although_written=True)
            return []
        if not batch and ended:
            self._drop(followed)
        return batch

    def _begin(self, followed: _Followed) -> Transfer:
        self._watch.add(readable_log(str(followed.path)).parent)
        position = self._console.position(followed.container_id, followed.engine_id)
        return Transfer(followed.container_id, followed.engine_id, followed.path, position, self._lines_per_second)

    def _send(self, parts: Iterator[tuple[_Followed, list[Append]]]) -> int:
        """Append everything in one call; answers how many bytes that were."""
        collected = list(parts)
        batch = [item for _, items in collected for item in items]
        if not batch:
            return 0
        answers = iter(self._console.append(batch))
        for followed, items in collected:
            _, position = [next(answers) for _ in items][-1]
            if followed.transfer:
                followed.transfer.settle(position)
                if followed.ended or followed.transfer.is_behind:
                    followed.written = True
        return sum(len(item.data) for item in batch)

    def _drop(self, followed: _Followed, *, although_written: bool = False) -> None:
        """Follow no more, unless the process was started again meanwhile."""
        with self._lock:
            if followed.written and not although_written:
                return
            del self._followed[followed.engine_id]
            del self._folders[followed.path.parent]
        self._watch.remove(followed.path.parent)
        if followed.transfer:
            followed.transfer.close()
        followed.passed_on.set()
