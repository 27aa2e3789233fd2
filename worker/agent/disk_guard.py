"""Containers on sparse volumes are kept from filling the host's disk, on which what they wrote would be lost."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable

import structlog

from fleet import messages
from fleet.errors import NotFound
from fleet.repositories.containers import ContainerRepository
from fleet.settings import Settings
from storage.volumes import Volumes
from storage.volumes.driver import MEBIBYTE
from storage.volumes.sparse import Ballast, reopening_bytes, room_bytes, unwritten_bytes
from worker.agent.duty import OUTAGES

_FASTEST_WRITER = 2 * 1024 * MEBIBYTE
"""Bytes a second: the next look comes before a program this fast can have used up what is left."""

_LOOK_SECONDS = (0.05, 2.0)
_ENGAGED_SECONDS = 0.5
_FLUSH_SHARE = 0.25
_FLUSH_LEAST_BYTES = 16 * MEBIBYTE
_FLUSH_SECONDS = 1.0
_FULL = "This host's disk is almost full: nothing more can be written to the volume until there is room again."
_OVER = "This host's disk has room again: the volume can be written to."

log = structlog.get_logger()


class DiskGuard:
    """Fills sparse volumes up while the host's disk is below its floor. `running` answers ids of running containers."""

    def __init__(
        self,
        settings: Settings,
        containers: ContainerRepository,
        volumes: Volumes,
        running: Callable[[], Iterable[str]],
    ) -> None:
        self._settings = settings
        self._containers = containers
        self._volumes = volumes
        self._running = running
        self._ballast = Ballast(settings)
        self._told: set[str] = set()
        self.engaged = False
        """Whether volumes are filled up now."""
        self._reopening_bytes = reopening_bytes(settings)
        self._flush: threading.Thread | None = None
        self._next_flush = 0.0

    def run(self, stop: threading.Event) -> None:
        """Look until `stop` is set; the less room there is, the more often."""
        while not stop.is_set():
            stop.wait(self.look())

    def look(self) -> float:
        """Fill up or let go as the disk demands; answers the seconds until the next look."""
        room, unwritten = room_bytes(self._settings), unwritten_bytes()
        if unwritten > max(room * _FLUSH_SHARE, _FLUSH_LEAST_BYTES):
            self._have_flushed()
        lasts = self.engaged
        if room - unwritten < (self._reopening_bytes if lasts else 0):
            if not lasts:
                log.error("the host's disk is almost full; sparse volumes are closed to writers")
            self.engaged = True
            self._ballast.take_on(self._volumes.known())
        elif lasts:
            log.info("the host's disk has room again")
            self._ballast.drop()
            self.engaged = lasts = False
        with contextlib.suppress(*OUTAGES):  # looking must go on without the store; they are told at a later look
            self._tell(self._ballast.volumes if lasts else set())
        if self.engaged:
            return _ENGAGED_SECONDS
        shortest, longest = _LOOK_SECONDS
        return min(max((room - unwritten) / _FASTEST_WRITER, shortest), longest)

    def _have_flushed(self) -> None:
        """Have the kernel write what it holds, so that it is not held against the room that there is."""
        now = time.monotonic()
        if now < self._next_flush or (self._flush is not None and self._flush.is_alive()):
            return
        self._next_flush = now + _FLUSH_SECONDS
        self._flush = threading.Thread(target=os.sync, name="flush", daemon=True)
        self._flush.start()

    def _tell(self, closed: set[str]) -> None:
        """Tell those whose volume was closed for more than a moment, and those for whom that is over."""
        if not closed and not self._told:
            return
        affected = {name for name in self._running() if self._volume_of(name) in closed}
        for name in affected - self._told:
            self._containers.tell(name, messages.daemon(_FULL))
            self._told.add(name)
        for name in self._told - affected:
            self._containers.tell(name, messages.daemon(_OVER))
            self._told.discard(name)

    def _volume_of(self, container_id: str) -> str:
        try:
            return self._containers.get(container_id).volume_id
        except NotFound:
            return ""
