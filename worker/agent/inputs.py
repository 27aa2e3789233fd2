"""Lines of input for running containers: in order for each, once, and with an answer."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import structlog

from fleet.errors import Conflict, LightdError, NodeTimeout, NotFound
from fleet.lifecycle import State
from fleet.orders import Orders
from fleet.repositories.containers import ContainerRepository
from fleet.settings import Settings
from worker.agent.duty import OUTAGES
from worker.agent.terminal import Terminal
from worker.known_store import is_own
from worker.operations.names import server_name
from worker.runtime.base import EngineContainer, Runtime

_THREADS = 32
_IDLE_SECONDS = 60.0
_LOOK_SECONDS = 0.05
_ANSWER_SECONDS = 1.0
"""Left for the answer to reach its client before an order is too late."""

log = structlog.get_logger()


@dataclass(eq=False)
class _Keyboard:
    """What is to be typed at one container. `busy` while a thread is typing."""

    container_id: str
    waiting: deque[dict[str, Any]] = field(default_factory=deque)
    busy: bool = False
    terminal: Terminal | None = None
    used_at: float = 0.0
    stale: bool = False


class Inputs:
    """Writes input orders to terminals. A program that does not read holds up nobody else."""

    def __init__(self, settings: Settings, runtime: Runtime, orders: Orders, containers: ContainerRepository) -> None:
        self._settings = settings
        self._runtime = runtime
        self._orders = orders
        self._containers = containers
        self._lock = threading.Lock()
        self._keyboards: dict[str, _Keyboard] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="input")

    def take(self, order: dict[str, Any]) -> None:
        """Have a line typed after those that were taken before it."""
        name = order["input"]
        with self._lock:
            keyboard = self._keyboards.setdefault(name, _Keyboard(name))
            keyboard.waiting.append(order)
            if keyboard.busy:
                return
            keyboard.busy = True
        self._threads.submit(self._type, keyboard)

    def forget(self, container_id: str) -> None:
        """The process has ended: what comes next is for another one."""
        with self._lock:
            if container_id in self._keyboards:
                self._keyboards[container_id].stale = True

    def close_idle(self) -> None:
        """Let go of terminals that nobody has used for a minute."""
        with self._lock:
            limit = time.monotonic() - _IDLE_SECONDS
            idle = [one for one in self._keyboards.values() if not one.busy and one.used_at < limit]
            for keyboard in idle:
                del self._keyboards[keyboard.container_id]
        for keyboard in idle:
            if keyboard.terminal:
                keyboard.terminal.close()

    def _type(self, keyboard: _Keyboard) -> None:
        """Type one line, and be back for the next when everybody else who waits for a thread had one typed."""
        with self._lock:
            order = keyboard.waiting.popleft()
        keyboard.used_at = time.monotonic()
        try:
            self._orders.answer(order["reply"], self._write(keyboard, order))
        except OUTAGES as error:
            log.warning("an answer to a command was lost", container=keyboard.container_id, reason=str(error))
        finally:
            with self._lock:
                keyboard.busy = bool(keyboard.waiting)
            if keyboard.busy:
                self._threads.submit(self._type, keyboard)

    def _write(self, keyboard: _Keyboard, order: dict[str, Any]) -> LightdError | None:
        """Write one line; answers why not, or None when it was written."""
        if time.time() > order["until"]:
            return NodeTimeout("The command came too late and was not sent; send it again.")
        try:
            self._terminal(keyboard, order["until"] - _ANSWER_SECONDS).write(order["data"].encode())
        except LightdError as error:
            return error
        return None

    def _terminal(self, keyboard: _Keyboard, until: float) -> Terminal:
        if keyboard.terminal and keyboard.terminal.is_open() and not keyboard.stale:
            return keyboard.terminal
        if keyboard.terminal:
            keyboard.terminal.close()
            keyboard.terminal = None
        keyboard.stale = False
        keyboard.terminal = Terminal(self._settings.engine, self._process(keyboard.container_id, until))
        return keyboard.terminal

    def _process(self, container_id: str, until: float) -> EngineContainer:
        """The running process. One that is `starting` for clients may not be there yet, and is waited for."""
        while True:
            state = self._state(container_id)
            found = self._runtime.inspect(server_name(container_id))
            if found is not None and found.running and is_own(self._settings, found):
                return found
            if state is not State.STARTING or time.time() > until:
                raise Conflict("The container is not running; the command was not sent.", code="not_running")
            time.sleep(_LOOK_SECONDS)

    def _state(self, container_id: str) -> State | None:
        try:
            return self._containers.get(container_id).state
        except NotFound:
            return None
