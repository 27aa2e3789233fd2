"""A real API process for sockets, on stores of its own that a test may stop and start."""

from __future__ import annotations

import copy
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis
import requests

from fleet.console import Append, Console
from fleet.keys import key
from fleet.lifecycle import InstallState, State
from fleet.models import Container, Job, Limits, Node, Spec, Volume
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import JobRepository, new_job
from fleet.repositories.nodes import NodeRepository
from fleet.repositories.tokens import TokenRepository
from fleet.repositories.volumes import VolumeRepository
from fleet.stats import StatsStore
from fleet.store import Client
from tests.support.deadline import PATIENCE, eventually
from tests.support.event_socket import EventSocket
from tests.support.own_store import OwnStore
from tests.support.ports import free_port

CHECKOUT = Path(__file__).parents[2]
NODE = "node-1"
CONSOLE_SECONDS = "LIGHTD_TEST_CONSOLE_SECONDS"
"""How long a state waits for its console, where a test wants another time."""

VOLUME = "d6764075-c5f1-4045-9fb3-85315b85cb0f"


class Api:
    """One gunicorn with one worker, the stores behind it, and the producers that workers and agents use."""

    redis: Client

    def __init__(self, folder: Path, **settings: str) -> None:
        self.record = OwnStore(folder / "record", durable=True)
        self.stream = OwnStore(folder / "stream", durable=True)
        self.address = f"127.0.0.1:{free_port()}"
        self._log = folder / "api.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            **os.environ,
            "LIGHTD_DATA": str(folder),
            "LIGHTD_BIND": self.address,
            "LIGHTD_API_WORKERS": "1",
            "LIGHTD_REDIS_URL": self.record.url,
            "LIGHTD_STREAM_URL": self.stream.url,
            **settings,
        }

    def start(self) -> None:
        """Start both stores and the API."""
        self.record.start()
        self.stream.start()
        self.redis = redis.Redis.from_url(self.record.url, decode_responses=True)
        self.console = Console(redis.Redis.from_url(self.stream.url))
        self.stats = StatsStore(redis.Redis.from_url(self.stream.url))
        self.containers = ContainerRepository(self.redis)
        self.tokens = TokenRepository(self.redis)
        self.token = f"lightd_{secrets.token_hex(16)}"
        self.tokens.set_master(self.token)
        now = int(time.time())
        VolumeRepository(self.redis).save(Volume(VOLUME, NODE, "/v", 64, "directory", "ready", now, now))
        NodeRepository(self.redis, 15).announce(Node(NODE, "unix:///none", time.time() + 3600, 2, 2**31, "20.10"))
        self.start_process()

    def start_process(self) -> None:
        """Start the API alone."""
        command = [sys.executable, "-m", "gunicorn", "-c", "app/gunicorn_settings.py", "tests.sockets.composition:app"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment, cwd=CHECKOUT)
        eventually(self._answers, within_seconds=20, what="an answer of the API")

    def signal(self, number: int) -> None:
        """Send a signal to the API, as an operator does."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait_ended(self, seconds: float = 10) -> int:
        """Wait for the end of the API; its exit code."""
        assert self._process is not None
        return self._process.wait(seconds * PATIENCE)

    @contextmanager
    def beside(self) -> Iterator[Api]:
        """Another API process on the same stores."""
        other = copy.copy(self)
        other.address = f"127.0.0.1:{free_port()}"
        other._environment = {**self._environment, "LIGHTD_BIND": other.address}
        try:
            other.start_process()
            yield other
        finally:
            other.stop_process()

    def stop(self) -> None:
        """End everything."""
        self.stop_process()
        self.record.stop()
        self.stream.stop()

    def stop_process(self) -> None:
        """End the API alone."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)

    def url(self, container_id: str, *, token: str | None = None, **query: str | int) -> str:
        """Where to watch a container; `token=""` leaves it out."""
        parameters = {"token": self.token if token is None else token, **query}
        joined = "&".join(f"{name}={value}" for name, value in parameters.items() if value != "")
        return f"ws://{self.address}/ws/{container_id}?{joined}"

    def many_url(self, token: str | None = None) -> str:
        """Where to watch many containers."""
        return f"ws://{self.address}/ws?token={token or self.token}"

    def places(self) -> dict[str, int]:
        """How many sockets all API processes on these stores have open: in all, by container, by token."""
        found: Counter[str] = Counter()
        for process in self.redis.smembers(key("socket_processes")):
            found.update({name: int(count) for name, count in self.redis.hgetall(key("sockets", process)).items()})
        return dict(found)

    def socket(self, container_id: str, *, token: str | None = None, **query: str | int) -> EventSocket:
        """Watch a container."""
        return EventSocket(self.url(container_id, token=token, **query))

    def held(self) -> dict[str, int]:
        """What the API process holds on to for its sockets."""
        found: dict[str, int] = requests.get(f"http://{self.address}/held", timeout=60).json()
        return found

    def log(self) -> str:
        """All that the API wrote."""
        return self._log.read_text()

    def create(self, container_id: str, state: State = State.RUNNING) -> Container:
        """Record a container as the API would, and bring it into a state."""
        now = int(time.time())
        spec = Spec("image", "command", Limits(2**28, 1.0, 64))
        job = new_job("install", NODE, "long", internal_id=container_id)
        made = Container(
            internal_id=container_id,
            node=NODE,
            volume_id=VOLUME,
            spec=spec,
            ports=(),
            state=State.INSTALLING,
            install_state=InstallState.INSTALLING,
            container_id=None,
            job_id=job.job_id,
            created_at=now,
            updated_at=now,
        )
        self.containers.create(made, [], job)
        if state is not State.INSTALLING:
            self.redis.hset(f"lightd:container:{container_id}", mapping={"state": state, "install_state": "ready"})
        return replace(made, state=state)

    def claim(self, job_id: str) -> Job:
        """Take a job as a worker does."""
        return JobRepository(self.redis, self.redis).claim(job_id, "worker")

    def print(self, container_id: str, *lines: str) -> int:
        """Have a container print lines, as its host's agent passes them on; the seq."""
        at = self.console.position(container_id, "engine")
        data = "".join(f"{line}\n" for line in lines).encode()
        seq, _ = self.console.append([Append(container_id, "engine", at, secrets.token_hex(8), data)])[0]
        assert seq is not None
        return seq

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        try:
            return requests.get(f"http://{self.address}/held", timeout=5).ok
        except (requests.ConnectionError, requests.Timeout):
            return False


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, as Unix sockets need it."""
    with tempfile.TemporaryDirectory(prefix="lightd-ws-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def shared_api() -> Iterator[Api]:
    """An API for all tests that neither stop anything nor need settings of their own."""
    with tempfile.TemporaryDirectory(prefix="lightd-ws-") as name:
        yield from running_api(Path(name))


@pytest.fixture
def api(shared_api: Api) -> Api:
    """The shared API; every test uses container names of its own."""
    return shared_api


@pytest.fixture
def own_api(folder: Path) -> Iterator[Api]:
    """An API that a test may stop, or whose stores it may stop."""
    yield from running_api(folder)


@pytest.fixture
def name() -> str:
    """A container id that no other test uses."""
    return f"c-{secrets.token_hex(6)}"


def running_api(folder: Path, **settings: str) -> Iterator[Api]:
    """Start an API with some settings of its own, and end it."""
    api = Api(folder, **settings)
    try:
        api.start()
        yield api
    finally:
        api.stop()
