"""What the running containers of this host use, once a second, from the kernel's files and without the engine.

A container is learned of once, when it runs, and forgotten when its files are gone. A host on which nothing runs
does nothing here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from fleet.models import Container
from fleet.stats import LastStats, Report, Stats, StatsStore
from fleet.stats_series import MINUTES, Point, averaged
from worker.runtime.base import EngineContainer
from worker.stats.cgroups import NotVisible
from worker.stats.measuring import Measured

log = structlog.get_logger()


@dataclass(eq=False)
class _Sampled:
    """A run that is measured. `told` is what watchers know, `kept_at` the minute in which that was renewed."""

    container_id: str
    run: str
    measured: Measured
    told: LastStats | None = None
    kept_at: int = 0


class Sampler:
    """Measures every running container once a second. `sample_next` is its own thread's, `begin` is anybody's.

    `disk_used` answers how many bytes the volume of a container holds, None while nobody knows.
    """

    def __init__(self, store: StatsStore, disk_used: Callable[[str], int | None]) -> None:
        self._store = store
        self._disk_used = disk_used
        self._sampled: dict[tuple[str, str], _Sampled] = {}
        self._minutes: dict[str, list[Point]] = {}
        self._begun = threading.Condition()

    def begin(self, record: Container, found: EngineContainer) -> None:
        """Measure a running container from now on; fine when that is done already."""
        with self._begun:
            if (found.engine_id, found.run) in self._sampled:
                return
            try:
                measured = Measured(found.pid)
            except (NotVisible, ValueError) as error:
                log.warning("what a container uses cannot be seen", container=record.internal_id, reason=str(error))
                return
            except OSError:  # it has ended already
                return
            self._sampled[found.engine_id, found.run] = _Sampled(record.internal_id, found.run, measured)
            self._begun.notify()

    def sample_next(self) -> None:
        """Wait for the middle of the next second, so that none is left out or comes twice; then sample."""
        with self._begun:
            self._begun.wait_for(lambda: self._sampled or self._minutes)
        time.sleep(1 - (time.time() - 0.5) % 1)
        self.sample(time.time())

    def sample(self, now: float) -> None:
        """Measure all at the unix time `now` and write it down. Raises RedisError; what is news then remains news."""
        self._end_minutes(_minute_of(now))
        with self._begun:
            sampled = dict(self._sampled)
        reports = []
        for run, one in sampled.items():
            measured = self._measure(run, one, int(now))
            if measured is not None:
                reports.append((one, self._report(one, *measured, now)))
        self._store.write([report for _, report in reports])
        for one, report in reports:
            one.told = report.last
            if report.renews:
                one.kept_at = _minute_of(now)

    def _report(self, sampled: _Sampled, stats: Stats, point: Point, now: float) -> Report:
        self._minutes.setdefault(sampled.container_id, []).append(point)
        told = sampled.told
        is_news = told is None or told.stats != stats
        last = LastStats(sampled.run, int(now * 1000), stats) if told is None or is_news else told
        return Report(sampled.container_id, last, point, is_news, renews=sampled.kept_at != _minute_of(now))

    def _measure(self, run: tuple[str, str], sampled: _Sampled, at: int) -> tuple[Stats, Point] | None:
        try:
            return sampled.measured.measure(at, self._disk_used(sampled.container_id))
        except (OSError, ValueError):  # it has ended, at the latest while it was read
            sampled.measured.close()
            with self._begun:
                del self._sampled[run]
            return None

    def _end_minutes(self, current: int) -> None:
        """Write the points of the minutes that are over. They wait while the store is away."""
        over = {name: points for name, points in self._minutes.items() if _minute_of(points[0].at) != current}
        if over:
            self._store.write_minutes(
                {name: averaged(points, _minute_of(points[0].at)) for name, points in over.items()}
            )
            for name in over:
                del self._minutes[name]


def _minute_of(unix_seconds: float) -> int:
    """The unix time at which its minute began."""
    return int(unix_seconds) // MINUTES.step_seconds * MINUTES.step_seconds
