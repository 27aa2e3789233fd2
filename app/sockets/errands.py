"""What one client asks of containers: in order for each of them, but one that does not listen holds up no other.

A line for a terminal that nobody reads takes seconds. What only reads, and a `kill`, waits for nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context

import gevent

from app.sockets.requests import Request
from fleet.errors import TooMany
from fleet.lifecycle import Action

_MOST_OF_CONTAINER = 100
_MOST = 300
_AFTERWARDS_SECONDS = 10
"""For how long a client that has left is still served with what it had sent."""

Step = Callable[[], None]


class Errands:
    """`attempt` does a step and tells the client what goes wrong; it raises nothing."""

    def __init__(self, attempt: Callable[[Step], None]) -> None:
        self._attempt = attempt
        self._waiting: dict[str, deque[tuple[Context, Step]]] = {}
        self._count = 0
        self._ends_at: float | None = None

    def do(self, container_id: str, request: Request, step: Step) -> None:
        """Do what is asked, after what was asked of this container before; raises TooMany when too much waits."""
        if request["event"] != "send_command" and request.get("action") in (None, Action.KILL):
            step()
            return
        waiting = self._waiting.get(container_id)
        if self._count >= _MOST or (waiting is not None and len(waiting) >= _MOST_OF_CONTAINER):
            raise TooMany(f"Too much waits to be done for container {container_id}; this was left out.")
        self._count += 1
        if waiting is None:
            waiting = self._waiting[container_id] = deque()
            gevent.spawn(self._work, container_id, waiting)
        waiting.append((copy_context(), step))

    def end(self) -> None:
        """The client has left."""
        self._ends_at = time.monotonic() + _AFTERWARDS_SECONDS

    def _work(self, container_id: str, waiting: deque[tuple[Context, Step]]) -> None:
        try:
            while waiting:
                context, step = waiting.popleft()
                self._count -= 1
                if self._ends_at is None or time.monotonic() < self._ends_at:
                    context.run(self._attempt, step)
        finally:
            del self._waiting[container_id]
