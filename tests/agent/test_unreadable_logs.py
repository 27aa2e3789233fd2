"""A log that makes no sense, as after somebody wrote into it, holds up no other container's console."""

from __future__ import annotations

import threading
from pathlib import Path

import redis

from fleet.console import Append, Console
from fleet.store import Client
from tests.agent.test_reading_logs import LogWriter
from tests.support.deadline import eventually
from worker.agent.consoles import Consoles

NO_STAMP = '{"log":"odd\\n","stream":"stdout","time":"yesterday"}\n'


def _log(folder: Path) -> LogWriter:
    folder.mkdir()
    return LogWriter(folder / "x-json.log")


def test_other_consoles_go_on(store: Client, store_url: str, tmp_path: Path) -> None:
    console = Console(redis.Redis.from_url(store_url))
    console.append([Append("odd", "e1", "", "2026-01-01T00:00:00.5Z|1", b"seen\n")])  # which the log has no more
    odd, sane = _log(tmp_path / "odd"), _log(tmp_path / "sane")
    with odd.path.open("a") as file:
        file.write(NO_STAMP)
    sane.write("first\n", 1)
    consoles, stop = Consoles(console), threading.Event()
    consoles.follow("odd", "e1", odd.path)
    consoles.follow("sane", "e2", sane.path)
    thread = threading.Thread(target=consoles.run, args=[stop])
    thread.start()
    try:
        eventually(lambda: console.tail("sane", 9) == "first\n", within_seconds=10, what="the line of the other log")
        sane.write("second\n", 2)
        eventually(lambda: console.tail("sane", 9) == "first\nsecond\n", within_seconds=10, what="its second line")
        assert consoles.followed() == {"sane"}
    finally:
        stop.set()
        thread.join()
