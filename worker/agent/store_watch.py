"""Noticing that the store was emptied or exchanged, and that this host was told to accept it."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from worker.agent.alignment import Alignment
from worker.agent.consoles import Consoles
from worker.known_store import KnownStore

log = structlog.get_logger()


class StoreWatch:
    """Looks once a second; `compare` asks for a full comparison."""

    def __init__(
        self, store: KnownStore, consoles: Consoles, alignment: Alignment, compare: Callable[[], None]
    ) -> None:
        self._store = store
        self._consoles = consoles
        self._alignment = alignment
        self._compare = compare
        self._was_known = True

    def look(self) -> None:
        """Follow no console while the store is not known; afterwards read all of them from where they stand."""
        known = self._store.is_known()
        if known is self._was_known:
            return
        self._was_known = known
        self._consoles.let_go()
        self._alignment.forget_what_was_read()
        if known:
            log.info("this host goes by the store again")
            self._compare()
