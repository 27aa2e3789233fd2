"""Comparing all records of this host with the engine: at the start, after every outage, and once a minute."""

from __future__ import annotations

import threading

from fleet.lifecycle import State
from fleet.repositories.containers import ContainerRepository
from fleet.settings import Settings
from worker.agent.alignment import Alignment
from worker.agent.strays import Strays
from worker.known_store import KnownStore, own_containers
from worker.operations.names import server_name
from worker.runtime.base import Runtime

_EVERY_SECONDS = 60.0


class Reconciler:
    """Compares everything when asked, and else once a minute."""

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

    def ask(self) -> None:
        """Have everything compared soon."""
        self._asked.set()

    def wait_and_compare(self) -> None:
        """Compare when somebody asks, at the latest in a minute. What fails is asked for again."""
        self._asked.wait(_EVERY_SECONDS)
        self._asked.clear()
        try:
            self.compare()
        except BaseException:
            self._asked.set()
            raise

    def compare(self) -> None:
        """Compare now. The engine is listed first: what has no record after that has been deleted.

        With a store that this host does not know nothing is compared.
        """
        if not self._store.is_known():
            return
        every = own_containers(self._settings, self._runtime.every(self._settings.node))
        servers = {found.container_id: found for found in every if found.name == server_name(found.container_id)}
        for record in self._containers.of_node(self._settings.node):
            found = servers.get(record.internal_id) or self._alignment.named_again(record)
            if record.state is State.INSTALLING:
                self._alignment.end_lost_install(record)
            elif found is None:
                self._alignment.align_missing(record)
            else:
                self._alignment.align(self._alignment.known_again(record, found), found)
        self._strays.remove(every)
