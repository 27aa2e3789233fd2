"""All checks of this host together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fleet.errors import LightdError
from worker.doctor.difference import Difference
from worker.firewall import Firewall
from worker.known_store import KnownStore

Check = Callable[[], Iterator[Difference]]


@dataclass(frozen=True, slots=True)
class Doctor:
    """Looks, and mends where that is safe. `firewall` is None where containers shall not be kept from the host."""

    store: KnownStore
    checks: tuple[Check, ...]
    firewall: Firewall | None
    second_look_seconds: float = 2.0

    def differences(self) -> list[Difference]:
        """What differs now and differed a moment ago too: what is just being done is no difference."""
        first = self._look()
        if not first:
            return []
        time.sleep(self.second_look_seconds)
        return [found for found in self._look() if found in first]

    def mend(self, difference: Difference) -> str:
        """Mend one difference; answers why that failed, or ''."""
        if difference.mend is None:
            return "it is not safe to do by itself"
        try:
            difference.mend()
        except LightdError as error:
            return error.message
        return ""

    def _look(self) -> list[Difference]:
        return [*self._host(), *(self._record() if self.store.is_known() else _unknown())]

    def _record(self) -> Iterator[Difference]:
        for check in self.checks:
            yield from check()

    def _host(self) -> Iterator[Difference]:
        if self.firewall is not None:
            mend = self.firewall.ensure if self.firewall.is_possible() else None
            for sentence in self.firewall.missing():
                yield Difference(sentence, mend)


def _unknown() -> Iterator[Difference]:
    yield Difference(
        "The store is empty, older or another one than this host knows: bring the old one back, or run"
        " `./lightd recover`."
    )
