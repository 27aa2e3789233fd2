"""A duty: something the agent does again and again, through outages of the stores and of the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from redis.exceptions import RedisError

from fleet.errors import Unavailable

OUTAGES = (Unavailable, RedisError, OSError)
"""What goes away by itself: the store, the queue or the engine cannot be reached."""

_RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)

log = structlog.get_logger()


class Outage:
    """Counts failures in a row, so that each outage is one line in the log and retries become slower."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._failures = 0

    def failed(self, error: BaseException) -> float:
        """Note a failure; answers the seconds to wait before the next try."""
        if self._failures == 0:
            log.warning(f"{self._name}: waiting until it works again", reason=str(error))
        self._failures += 1
        return _RETRY_SECONDS[min(self._failures, len(_RETRY_SECONDS)) - 1]

    def over(self) -> None:
        """Note that it works."""
        if self._failures:
            log.info(f"{self._name}: works again", failures=self._failures)
            self._failures = 0


def keep_doing(name: str, step: Callable[[], object], stop: threading.Event, every_seconds: float = 0) -> None:
    """Call `step`, wait, and so on until `stop` is set. Outages and bugs of one round don't end the duty."""
    outage = Outage(name)
    while not stop.is_set():
        try:
            step()
        except OUTAGES as error:
            stop.wait(outage.failed(error))
            continue
        except Exception:  # a bug that one order brings to light must not end the whole duty
            log.exception(f"{name}: failed", duty=name)
            stop.wait(1)
            continue
        outage.over()
        if every_seconds:
            stop.wait(every_seconds)
