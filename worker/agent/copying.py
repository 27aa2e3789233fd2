"""The records of this host's containers, kept on this host too."""

from __future__ import annotations

from fleet.repositories.containers import ContainerRepository
from fleet.settings import Settings
from worker.known_store import KnownStore
from worker.second_copy import SecondCopy

_MOST_ROUNDS = 5
"""On a host where something changes all the time, the rest is written the next time."""


class Copying:
    """Writes the host's second copy, beside workers who write down there what they are about to remove."""

    def __init__(self, settings: Settings, containers: ContainerRepository, store: KnownStore) -> None:
        self._node = settings.node
        self._containers = containers
        self._store = store
        self._copy = SecondCopy(settings)

    def keep(self) -> None:
        """Have the copy say what the record says, in a store that this host knows."""
        for _ in range(_MOST_ROUNDS):
            if not self._keep_once():
                return

    def _keep_once(self) -> bool:
        """Whether something was written, which may have been older than what a worker had written just before."""
        since = self._store.known_since()
        records = self._containers.of_node(self._node)
        if since is None or self._store.known_since() != since:
            return False
        return self._copy.keep(records)
