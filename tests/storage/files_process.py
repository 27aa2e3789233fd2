"""A real files process under gunicorn, and signed calls to it over its socket, Unix or TCP as its settings say."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fleet.settings import Settings
from fleet.signing import sign_call
from tests.support.deadline import PATIENCE

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 20 * PATIENCE


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_seconds: float = 60) -> None:
        super().__init__("files", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


@dataclass
class FilesProcess:
    """Where it listens and how to call it."""

    settings: Settings
    process: subprocess.Popen[bytes]
    log: Path
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def socket(self) -> Path:
        return self.settings.run_folder / "files.sock"

    def connection(self) -> http.client.HTTPConnection:
        if self.settings.files_url:
            return http.client.HTTPConnection(urlsplit(self.settings.files_url).netloc, timeout=60)
        return UnixConnection(self.socket)

    def signature(self, method: str, target: str) -> str:
        return sign_call(self.settings.signing_key(), self.settings.node, method, target)

    def call(
        self, method: str, target: str, body: Any = None, *, headers: dict[str, str] | None = None, raw: Any = None
    ) -> Answer:
        """One signed call; `body` is sent as JSON, `raw` as it is."""
        sent = {"Authorization": self.signature(method, target), **(headers or {})}
        data = raw if raw is not None else (None if body is None else json.dumps(body))
        connection = self.connection()
        try:
            with suppress(BrokenPipeError):  # it had heard enough: its answer follows
                connection.request(method, target, data, sent)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()


@contextmanager
def running_files_process(settings: Settings, *, through: Sequence[str] = ()) -> Iterator[FilesProcess]:
    """Start it, by the command `through` where one is given; wait until it answers, end it at the end."""
    variables = {
        "LIGHTD_DATA": str(settings.data),
        "LIGHTD_NODE": settings.node,
        "LIGHTD_FILES_URL": settings.files_url,
        "LIGHTD_REDIS_URL": settings.redis_url,
        "LIGHTD_DISK_FLOOR_MB": str(settings.disk_floor_mb),
        "LIGHTD_VOLUME_DRIVER": settings.volume_driver,
        "LIGHTD_VOLUME_ALLOCATION": settings.volume_allocation,
        "LIGHTD_FILES_THREADS": str(settings.files_threads),
        "LIGHTD_LOG_LEVEL": "debug",
    }
    log = settings.data / "files.log"
    command = [sys.executable, "-m", "gunicorn", "-c", "storage/server/gunicorn_settings.py"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*through, *command, "storage.server:create_app()"],
            cwd=REPOSITORY,
            env={**os.environ, **variables},
            stdout=output,
            stderr=output,
        )
    running = FilesProcess(settings, process, log)
    try:
        _wait_until_healthy(running)
        yield running
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_healthy(running: FilesProcess) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if running.call("GET", "/healthz").status == 200:
                return
        except OSError:
            assert running.process.poll() is None and time.monotonic() < deadline, running.log.read_text()
            time.sleep(0.02)
