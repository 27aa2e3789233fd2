"""The engine's events: containers that start, end and go.

The stream is opened first and everything is compared afterwards, so it does not matter what happened before.
Events are hints to look again: every reaction asks the engine how things are now.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import urlencode

import structlog

from worker.agent.duty import OUTAGES
from worker.console.engine_http import EngineConnection, open_stream, unreachable
from worker.runtime.base import LABEL_ID, LABEL_NODE, LABEL_ROLE

_CONNECT_SECONDS = 5.0
_REACTIONS = 16

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """Something has happened to one of our engine containers: `start`, `die` or `destroy`."""

    action: str
    engine_id: str
    container_id: str
    role: str


class EngineEvents:
    """Reads events and has them reacted to, several at once. `compare` asks for a full comparison."""

    def __init__(
        self, address: str, node: str, react: Callable[[EngineEvent], None], compare: Callable[[], None]
    ) -> None:
        self._address = address
        labels = [f"{LABEL_NODE}={node}", LABEL_ID]
        filters = {"type": ["container"], "event": ["start", "die", "destroy"], "label": labels}
        self._path = f"/events?{urlencode({'filters': json.dumps(filters)})}"
        self._react = react
        self._compare = compare
        self._connection: EngineConnection | None = None
        self._reactions = ThreadPoolExecutor(_REACTIONS, thread_name_prefix="event")

    def read(self) -> None:
        """Read events until the connection ends; raises EngineUnavailable then."""
        try:
            for event in self._events():
                self._reactions.submit(self._try_to_react, event)
        except (OSError, HTTPException, ValueError, AttributeError) as error:
            raise unreachable(self._address) from error
        raise unreachable(self._address)

    def close(self) -> None:
        """End a `read` that is under way, and all reactions that have not begun."""
        connection = self._connection
        if connection and connection.sock:
            _wake_reader(connection.sock)
        self._reactions.shutdown(wait=False, cancel_futures=True)

    def _events(self) -> Iterator[EngineEvent]:
        self._connection = open_stream(self._address, "GET", self._path, _CONNECT_SECONDS)
        try:
            response = self._connection.getresponse()
            self._connection.sock.settimeout(None)
            log.info("listening to the engine", engine=self._address)
            self._compare()
            while line := response.readline():
                event = json.loads(line)
                attributes = event["Actor"]["Attributes"]
                yield EngineEvent(
                    event["Action"], event["Actor"]["ID"], attributes[LABEL_ID], attributes.get(LABEL_ROLE, "")
                )
        finally:
            self._connection.close()

    def _try_to_react(self, event: EngineEvent) -> None:
        try:
            self._react(event)
        except OUTAGES as error:
            log.warning("an event has to wait for the next comparison", event_action=event.action, reason=str(error))
            self._compare()
        except Exception:
            log.exception("reacting to an event failed", container=event.container_id, event_action=event.action)
            self._compare()


def _wake_reader(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
