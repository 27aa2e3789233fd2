"""Watchers are told when the volume of a running container runs out of space, and when that is over.

Where the kernel does not keep a volume's size, a container that goes on beyond it is ended: it would fill the host.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from fleet import messages
from fleet.errors import LightdError, NotFound
from fleet.repositories.containers import ContainerRepository
from storage.volumes import Usage, Volumes

LOOK_SECONDS = 2.0
_LEAST_BYTES = 10 * 1024 * 1024
_LEAST_SHARE = 0.05
_RECOVERY_SHARE = 0.05
# Measuring a volume takes at most this part of the time; counting a large plain folder takes long.
_COST_SHARE = 0.02

log = structlog.get_logger()


@dataclass
class _Watched:
    """A volume under a running container."""

    volume_id: str
    next_look: float = 0.0
    full: bool = False
    used_bytes: int | None = None


class Space:
    """Measures the volumes of running containers. `running` answers the ids of those; nobody else costs anything.

    While `closed` all volumes are filled up on purpose, and say nothing about themselves. `end` ends a container.
    """

    def __init__(
        self,
        containers: ContainerRepository,
        volumes: Volumes,
        running: Callable[[], Iterable[str]],
        closed: Callable[[], bool],
        end: Callable[[str], None],
    ) -> None:
        self._containers = containers
        self._volumes = volumes
        self._running = running
        self._closed = closed
        self._end = end
        self._watched: dict[str, _Watched] = {}

    def look(self) -> None:
        """Measure, and tell each container whose volume crossed the line. A start on a full volume counts as that."""
        running = set(self._running())
        for container_id in self._watched.keys() - running:
            del self._watched[container_id]
        for container_id in running - self._watched.keys():
            try:
                self._watched[container_id] = _Watched(self._containers.get(container_id).volume_id)
            except NotFound:  # its record was just deleted, and its console soon ends
                continue
        for container_id, watched in self._watched.items():
            if time.monotonic() >= watched.next_look and not self._closed():
                self._measure(container_id, watched)

    def used_bytes(self, container_id: str) -> int | None:
        """What the volume of a running container held when it was last measured; None when it was not yet."""
        watched = self._watched.get(container_id)
        return watched.used_bytes if watched else None

    def _measure(self, container_id: str, watched: _Watched) -> None:
        began = time.monotonic()
        try:
            usage = self._volumes.usage(watched.volume_id)
        except LightdError:  # resized at the moment, or broken: the volumes' upkeep says so
            return
        now = time.monotonic()
        watched.used_bytes = usage.used_bytes
        watched.next_look = now + (now - began) / _COST_SHARE
        full = is_full(usage, was_full=watched.full)
        if full != watched.full:
            self._containers.tell(container_id, messages.daemon(_sentence(usage, full=full)))
            watched.full = full
        if usage.is_beyond:
            log.warning("a container is ended: its volume is beyond its size", container=container_id)
            self._containers.tell(container_id, messages.daemon(_overfull(usage)))
            self._end(container_id)


def is_full(usage: Usage, *, was_full: bool) -> bool:
    """Whether less than 10 MB or 5 % is left. What was full must get back another 5 %, lest it goes to and fro."""
    usable_bytes = usage.used_bytes + usage.available_bytes
    line_bytes = max(_LEAST_BYTES, _LEAST_SHARE * usable_bytes)
    if was_full:
        line_bytes += _RECOVERY_SHARE * usable_bytes
    return usage.available_bytes < line_bytes


def _overfull(usage: Usage) -> str:
    figures = f"{usage.used_mb:g} MB are used of {usage.size_mb}"
    return f"The volume is beyond its size and the container was ended: {figures}; delete something or make it larger."


def _sentence(usage: Usage, *, full: bool) -> str:
    figures = f"{usage.used_mb:g} of {usage.size_mb} MB are used, {usage.available_mb:g} MB are left"
    if full:
        return f"The volume is running out of space: {figures}; delete something or make it larger."
    return f"The volume has room again: {figures}."
