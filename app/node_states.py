"""Whether hosts are online, asked often and read from the store at most once a second."""

from __future__ import annotations

import time

from fleet.models import Node
from fleet.repositories.nodes import NodeRepository

ONLINE = "online"
OFFLINE = "offline"
_REFRESH_SECONDS = 1.0


class NodeStates:
    """A short memory of all hosts; a host's silence shows at once, a new host within a second."""

    def __init__(self, nodes: NodeRepository) -> None:
        self._nodes = nodes
        self._known: dict[str, Node] = {}
        self._read_at = float("-inf")

    def state_of(self, name: str) -> str:
        """`online` or `offline`; an unknown host is offline."""
        now = time.monotonic()
        if now - self._read_at >= _REFRESH_SECONDS:
            # Set first: requests that come in while this one waits for the store need not read it as well.
            self._read_at = now
            self._known = {node.id: node for node in self._nodes.every()}
        node = self._known.get(name)
        return ONLINE if node is not None and self._nodes.is_online(node) else OFFLINE
