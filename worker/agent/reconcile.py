"""Comparing all records of this host with the engine: at the start, after every outage, and again and again.

Looking at each container costs some milliseconds, the engine's list of all next to nothing. So what the list and the
record agree about is looked at once a minute only.
"""

from __future__ import annotations

import threading
import time

from fleet.lifecycle import ALIVE, State
from fleet.models import Container
from fleet.repositories.containers import ContainerRepository
from fleet.settings import Settings
from worker.agent.alignment import Alignment
from worker.agent.strays import Strays
from worker.known_store import KnownStore, own_containers
from worker.operations.names import server_name
from worker.runtime.base import ListedContainer, Runtime

_LIST_SECONDS = 15.0
_CLOSELY_SECONDS = 60.0


class Reconciler:
    """Compares everything closely when asked and once a minute, and by the engine's list in between."""

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        containers: ContainerRepository,
        alignment: Alignment,
        strays: Strays,
        store: KnownStore,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._containers = containers
        self._alignment = alignment
        self._strays = strays
        self._store = store
        self._asked = threading.Event()
        self._closely_at = 0.0

    def ask(self) -> None:
        """Have everything compared closely, soon."""
        self._asked.set()

    def wait_and_compare(self) -> None:
        """Compare when somebody asks, and when it is time. What fails is asked for again."""
        asked = self._asked.wait(_LIST_SECONDS)
        self._asked.clear()
        closely = asked or time.monotonic() >= self._closely_at
        try:
            self.compare(closely=closely)
        except BaseException:
            self._asked.set()
            raise
        if closely:
            self._closely_at = time.monotonic() + _CLOSELY_SECONDS

    def compare(self, *, closely: bool = True) -> None:
        """Compare now; if not `closely`, only what differs in the engine's list. The engine is listed first: what has
        no record after that has been deleted.

        With a store that this host does not know nothing is compared.
        """
        if not self._store.is_known():
            return
        every = own_containers(self._settings, self._runtime.listed(self._settings.node))
        servers = {found.container_id: found for found in every if found.name == server_name(found.container_id)}
        for record in self._containers.of_node(self._settings.node):
            found = servers.get(record.internal_id) or self._alignment.named_again(record)
            if record.state is State.INSTALLING:
                self._alignment.end_lost_install(record)
            elif found is None:
                self._alignment.align_missing(record)
            elif closely or _differs(record, found):
                self._look(record, found.engine_id)
        self._strays.remove(every)

    def _look(self, record: Container, engine_id: str) -> None:
        found = self._runtime.inspect(engine_id)
        if found is None:
            self._alignment.align_missing(record)
        else:
            self._alignment.align(self._alignment.known_again(record, found), found)


def _differs(record: Container, listed: ListedContainer) -> bool:
    """Whether the list tells something else than the record, or the record speaks of a passing state."""
    if record.container_id != listed.engine_id or record.state in (State.STARTING, State.STOPPING):
        return True
    return listed.running is not (record.state in ALIVE)
