"""Signs of life: of this host, and through its queues of its workers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from fleet.errors import EngineUnavailable
from fleet.models import Node
from fleet.repositories.nodes import QUEUES, NodeRepository
from fleet.settings import Settings
from worker.known_store import KnownStore
from worker.runtime.base import HostInfo, Runtime

ANNOUNCE_SECONDS = 3.0
BEAT_SECONDS = 5.0
_DESCRIBE_SECONDS = 60.0


class Heartbeat:
    """Announces this host while its engine answers."""

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        nodes: NodeRepository,
        beat: Callable[[str, str], None],
        store: KnownStore,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._nodes = nodes
        self._beat = beat
        self._store = store
        self._host: HostInfo | None = None
        self._described_at = 0.0

    def announce(self) -> None:
        """Say that this host is there, and how big it is; raises EngineUnavailable when its engine was never seen."""
        host = self._describe()
        node = Node(
            id=self._settings.node,
            files_address=self._settings.files_address,
            files_public_url=self._settings.files_public_url,
            last_seen=time.time(),
            cpus=host.cpus,
            memory_bytes=host.memory_bytes,
            engine_version=host.engine_version,
            must_recover=not self._store.is_known(),
        )
        self._nodes.announce(node)
        if not node.must_recover:
            self._store.note_signs()

    def beat(self) -> None:
        """Have each queue prove that a worker consumes it."""
        for queue in QUEUES:
            self._beat(self._settings.node, queue)

    def _describe(self) -> HostInfo:
        if self._host is None:
            self._host = self._runtime.host()
        elif time.monotonic() - self._described_at > _DESCRIBE_SECONDS:
            with contextlib.suppress(EngineUnavailable):  # its volumes can still be used, so the host is there
                self._host = self._runtime.host()
        else:
            return self._host
        self._described_at = time.monotonic()
        return self._host
