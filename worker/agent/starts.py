"""Start patterns: reading what a starting container prints until its pattern appears.

This has a cursor of its own, from the first line of the run on. So it needs no stream store, and a new agent finds
what an older one read.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from fleet.errors import EngineUnavailable, NotFound
from fleet.lifecycle import State
from fleet.models import Container
from fleet.pattern import compile_pattern, plain_text
from fleet.repositories.containers import ContainerRepository
from worker.agent.duty import OUTAGES, Outage
from worker.console.entries import Entry
from worker.console.inotify import FolderWatch
from worker.console.log_file import LogFile, readable_log
from worker.console.position import Position, nanoseconds
from worker.runtime.base import EngineContainer

_READ_BYTES = 128 * 1024
_LINE_BYTES = 64 * 1024
_IDLE_SECONDS = 1.0
_RECORD_SECONDS = 0.01

log = structlog.get_logger()


@dataclass(eq=False)
class _Expected:
    """A run that has not printed its start pattern yet. `after` is a time before its first line, in nanoseconds."""

    container: Container
    run: str
    after: int
    path: Path
    cursor: LogFile
    beginning: bytes = b""
    written: bool = True
    reached: bool = False
    seen: bool = False

    @property
    def pattern(self) -> str | None:
        """What is waited for."""
        return self.container.spec.start_pattern

    def lines(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """The lines of this run that are complete, without their end."""
        for stamp, data in entries:
            self.reached = self.reached or nanoseconds(stamp) > self.after
            if not self.reached:
                continue
            self.beginning = (self.beginning + data)[:_LINE_BYTES]
            if data.endswith(b"\n"):
                yield self.beginning.rstrip(b"\r\n")
                self.beginning = b""


class Starts:
    """Waits for start patterns. All methods may be called from any thread; `run` is the thread's own."""

    def __init__(self, containers: ContainerRepository) -> None:
        self._containers = containers
        self._watch = FolderWatch()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._expected: dict[str, _Expected] = {}
        self._outage = Outage("start patterns")

    def expect(self, container: Container, found: EngineContainer) -> None:
        """Make the container `running` when its current run prints its start pattern; fine when expected already.

        A pattern that has changed meanwhile is looked for from the first line of the run on.
        """
        engine_id, run, path = found.engine_id, found.run, Path(found.log_path)
        with self._lock:
            known = self._expected.get(engine_id)
            if known and known.run == run and known.pattern == container.spec.start_pattern:
                return
        self.forget(engine_id)
        try:
            with self._lock:
                self._watch.add(readable_log(str(path)).parent)
                cursor = LogFile(path, Position())
                self._expected[engine_id] = _Expected(container, run, _between(found), path, cursor)
        except (OSError, EngineUnavailable) as error:
            log.error("a start pattern cannot be waited for", container=container.internal_id, reason=str(error))
        os.eventfd_write(self._wake, 1)

    def forget(self, engine_id: str) -> None:
        """The run is over."""
        with self._lock:
            expected = self._expected.pop(engine_id, None)
            if expected:
                expected.cursor.close()
                self._watch.remove(expected.path.parent)

    def run(self, stop: threading.Event) -> None:
        """Read and match until `stop` is set."""
        while not stop.is_set():
            try:
                pause_seconds = self._round()
                self._outage.over()
            except OUTAGES as error:
                stop.wait(self._outage.failed(error))
                continue
            if select.select([self._watch.fileno(), self._wake], [], [], pause_seconds)[0]:
                self._take_notice()

    def _take_notice(self) -> None:
        with self._lock:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            folders = self._watch.changed()
            for expected in self._expected.values():
                if expected.path.parent in folders:
                    expected.written = True

    def _round(self) -> float:
        """Read what is new and tell what was seen; answers how long nothing else needs to be done."""
        with self._lock:
            for expected in self._expected.values():
                if expected.written and not expected.seen:
                    self._look(expected)
            unread = any(expected.written and not expected.seen for expected in self._expected.values())
            seen = [(engine_id, expected) for engine_id, expected in self._expected.items() if expected.seen]
        for engine_id, expected in list(seen):
            if self._told(engine_id, expected):
                self.forget(engine_id)
                seen.remove((engine_id, expected))
        if unread:
            return 0
        return _RECORD_SECONDS if seen else _IDLE_SECONDS

    def _told(self, engine_id: str, expected: _Expected) -> bool:
        """Write `running` into the record; False while the start itself has not been written there yet."""
        try:
            record = self._containers.get(expected.container.internal_id)
        except NotFound:
            return True
        if record.state is State.STARTING and record.run != expected.run:
            return False
        self._containers.matched(replace(record, container_id=engine_id, run=expected.run))
        return True

    def _look(self, expected: _Expected) -> None:
        """Read on a bit; notes whether the pattern was in it."""
        entries = expected.cursor.read(_READ_BYTES)
        expected.written = bool(entries)
        pattern = compile_pattern(expected.pattern or "")
        try:
            expected.seen = any(pattern.search(plain_text(line)) for line in expected.lines(entries))
        except ValueError as error:  # is no reason for other containers to wait
            log.error("a log makes no sense", container=expected.container.internal_id, reason=str(error))


def _between(found: EngineContainer) -> int:
    """A time after the last line of the run before and before the first line of this one, in nanoseconds.

    The engine writes down a start a moment after the process began to print, and stamps the last lines of a
    process a moment after its end: so neither of the two times parts the runs, but the middle between them does.
    """
    return (int(found.ended) + int(found.run)) // 2
