"""A log that makes no sense, as after somebody wrote into it, holds up no other container."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import redis

from fleet.console import Append, Console
from fleet.lifecycle import Action, State
from fleet.models import Container
from fleet.repositories.jobs import new_job
from fleet.store import Client
from tests.agent.test_reading_logs import LogWriter
from tests.fleet.conftest import NODE, Record, new_run, record
from tests.support.deadline import eventually
from worker.agent.consoles import Consoles
from worker.agent.starts import Starts
from worker.runtime.base import EngineContainer

__all__ = ["record"]

NO_STAMP = '{"log":"odd\\n","stream":"stdout","time":"yesterday"}\n'


def _log(folder: Path) -> LogWriter:
    folder.mkdir()
    return LogWriter(folder / "x-json.log")


@contextmanager
def _running(run: Callable[[threading.Event], None]) -> Iterator[None]:
    """A duty of the agent at work, on a thread of its own."""
    stop = threading.Event()
    thread = threading.Thread(target=run, args=[stop], daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_other_consoles_go_on(store: Client, store_url: str, tmp_path: Path) -> None:
    console = Console(redis.Redis.from_url(store_url))
    console.append([Append("odd", "e1", "", "2026-01-01T00:00:00.5Z|1", b"seen\n")])  # which the log has no more
    odd, sane = _log(tmp_path / "odd"), _log(tmp_path / "sane")
    with odd.path.open("a") as file:
        file.write(NO_STAMP)
    sane.write("first\n", 1)
    consoles = Consoles(console)
    consoles.follow("odd", "e1", odd.path)
    consoles.follow("sane", "e2", sane.path)
    with _running(consoles.run):
        eventually(lambda: console.tail("sane", 9) == "first\n", within_seconds=10, what="the line of the other log")
        sane.write("second\n", 2)
        eventually(lambda: console.tail("sane", 9) == "first\nsecond\n", within_seconds=10, what="its second line")
        assert consoles.followed() == {"sane"}


def test_other_start_patterns_are_seen(record: Record, tmp_path: Path) -> None:
    odd, sane = _log(tmp_path / "odd"), _log(tmp_path / "sane")
    with odd.path.open("a") as file:
        file.write(NO_STAMP)
    starts = Starts(record.containers)
    starts.expect(*_starting(record, "odd", "engine-0", odd))
    starts.expect(*_starting(record, "sane", "engine-1", sane))
    sane.write("Ready\n", 1)
    with _running(starts.run):
        eventually(lambda: record.containers.get("sane").state is State.RUNNING, within_seconds=10, what="the start")
    assert record.containers.get("odd").state is State.STARTING


def _starting(record: Record, name: str, engine_id: str, log: LogWriter) -> tuple[Container, EngineContainer]:
    """A container that was just started, and how the engine sees it."""
    job, run = new_job("start", NODE, "quick", internal_id=name), new_run()
    record.containers.begin(record.ready(name), Action.START, job)
    claimed = record.jobs.claim(job.job_id, "w")
    record.containers.write(name, claimed, finish="done", state=State.STARTING, run=run, after_run=run)
    container = record.containers.get(name)
    return replace(container, spec=replace(container.spec, start_pattern="Ready")), EngineContainer(
        engine_id=engine_id,
        name=name,
        running=True,
        labels={},
        image="",
        run=run,
        exit_code=None,
        oom_killed=False,
        pid=0,
        log_path=str(log.path),
    )
