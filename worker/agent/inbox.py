"""The agent's inbox: orders are taken in order, and none waits for another one's engine call."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from fleet.orders import Orders
from worker.agent.duty import OUTAGES
from worker.agent.inputs import Inputs
from worker.agent.kills import Kills
from worker.known_store import KnownStore

_WAIT_SECONDS = 1.0
_KILLS_AT_ONCE = 64

log = structlog.get_logger()


class Inbox:
    """Takes orders out of the store and hands them on."""

    def __init__(self, node: str, orders: Orders, kills: Kills, inputs: Inputs, store: KnownStore) -> None:
        self._node = node
        self._orders = orders
        self._kills = kills
        self._inputs = inputs
        self._store = store
        self._threads = ThreadPoolExecutor(_KILLS_AT_ONCE, thread_name_prefix="kill")

    def take_next(self) -> None:
        """Wait a second for an order, and hand it on; one from a store that this host does not know is dropped."""
        order = self._orders.next(self._node, _WAIT_SECONDS)
        if not order:
            return
        if self._store.is_known():
            self.obey(order)
        else:
            log.warning("an order of a store that this host does not know was dropped", names=sorted(order))

    def obey(self, order: dict[str, Any]) -> None:
        """Begin to carry out an order."""
        if "kill" in order:
            self._threads.submit(self._kill, order)
        elif "input" in order:
            self._inputs.take(order)
        else:
            log.error("an order of an unknown kind was dropped", names=sorted(order))

    def _kill(self, order: dict[str, Any]) -> None:
        try:
            self._kills.obey(order["job"])
        except OUTAGES as error:
            log.warning("a kill has to wait for the sweeper", container=order["kill"], reason=str(error))
        except Exception:
            log.exception("a kill failed", container=order["kill"])
