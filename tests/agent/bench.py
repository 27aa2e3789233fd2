"""One host without API and Celery: its record, its engine, its agent as a real process, and jobs done on the spot."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path

import docker
import redis

from fleet.console import Console
from fleet.errors import LightdError
from fleet.lifecycle import Action, InstallState, State
from fleet.models import Container, Job, Limits, Spec, Volume
from fleet.orders import Orders
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import JobRepository, new_job
from fleet.repositories.nodes import NodeRepository
from fleet.repositories.volumes import VolumeRepository
from fleet.settings import Settings
from fleet.stats import StatsStore
from fleet.store import connect
from storage.volumes import Volumes
from tests.support.deadline import eventually
from tests.support.images import BUSYBOX
from worker.console.relay import relay
from worker.operations.host import Host
from worker.operations.run import Runner
from worker.runtime.docker import DockerRuntime

ROOT = Path(__file__).parent.parent.parent


class Bench:
    """Where a test of the agent happens."""

    def __init__(self, engine: docker.DockerClient, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.node = settings.node
        stores = connect(settings)
        self.stores = stores
        self.containers = ContainerRepository(stores.record)
        self.jobs = JobRepository(stores.record, stores.blocking)
        self.nodes = NodeRepository(stores.record, 15)
        self.volumes = VolumeRepository(stores.record)
        self.orders = Orders(stores.record, stores.blocking)
        self.console = Console(stores.stream_bytes, history_kb=1 << 20)
        self.runtime = DockerRuntime(settings.engine, 30)
        self.stats = StatsStore(stores.stream_bytes)
        host = Host(
            settings=settings,
            containers=self.containers,
            jobs=self.jobs,
            console=self.console,
            stats=self.stats,
            runtime=self.runtime,
            volumes=Volumes(settings),
            relay=relay,
        )
        self._runner = Runner(host)
        self._ids: dict[str, str] = {}
        self._worker: threading.Thread | None = None
        self._closing = threading.Event()
        self.agent: subprocess.Popen[bytes] | None = None
        settings.data.mkdir(parents=True, exist_ok=True)
        self.agent_log = settings.data / "agent.log"

    # The agent.

    def start_agent(self, **environment: str) -> None:
        """Start the agent as a process of its own."""
        settings = {
            "LIGHTD_DATA": str(self.settings.data),
            "LIGHTD_REDIS_URL": self.settings.redis_url,
            "LIGHTD_STREAM_URL": self.settings.stream_address,
            "LIGHTD_NODE": self.node,
            "LIGHTD_NETWORK": self.settings.network,
            "LIGHTD_FIREWALL": "true" if self.settings.firewall else "false",
            "LIGHTD_VOLUME_DRIVER": "directory",
            "LIGHTD_CONSOLE_LINES_PER_SECOND": "0",
        }
        with self.agent_log.open("ab") as log:
            self.agent = subprocess.Popen(
                [sys.executable, "-m", "worker.agent"],
                cwd=ROOT,
                env={**os.environ, **settings, **environment},
                stdout=log,
                stderr=log,
            )

    def kill_agent(self) -> None:
        """SIGKILL."""
        assert self.agent
        self.agent.kill()
        self.agent.wait(60)

    def stop_agent(self) -> float:
        """SIGTERM; answers the seconds that its end took."""
        assert self.agent
        began = time.monotonic()
        self.agent.send_signal(signal.SIGTERM)
        assert self.agent.wait(60) == 0
        return time.monotonic() - began

    def await_agent(self) -> None:
        """Until the agent listens to the engine and has announced its host."""
        eventually(
            lambda: [node for node in self.nodes.every() if node.last_seen > time.time() - 2],
            within_seconds=15,
            what="the agent's announcement",
        )

    # Containers. Tests call them by short names; in record and engine each has a name of its own.

    def id_of(self, name: str) -> str:
        """The `internal_id` of the container that was last installed by this short name."""
        return self._ids.get(name, name)

    def engine_name(self, name: str) -> str:
        """What the engine calls it."""
        return f"lightd-{self.id_of(name)}"

    def record(self, name: str) -> Container:
        """Its record."""
        return self.containers.get(self.id_of(name))

    def install(self, short: str, command: str, **spec: object) -> Container:
        """Make a container with a volume, ready to be started."""
        name = self._ids[short] = f"{short}-{secrets.token_hex(4)}"
        volume_id = str(uuid.uuid4())
        Volumes(self.settings).create(volume_id, 16)
        now = int(time.time())
        path = str(self.settings.data / "volumes" / volume_id)
        self.volumes.save(Volume(volume_id, self.node, path, 16, "directory", "ready", now, now))
        job = new_job(Action.INSTALL, self.node, "long", internal_id=name)
        wanted = replace(Spec(BUSYBOX, command, Limits(64 << 20, 1.0, 64)), **spec)  # type: ignore[arg-type]
        record = Container(
            name,
            self.node,
            volume_id,
            wanted,
            (),
            State.INSTALLING,
            InstallState.INSTALLING,
            None,
            job.job_id,
            now,
            now,
        )
        self.containers.create(record, [], job)
        self._runner.run(job.job_id)
        record = self.containers.get(name)
        assert record.state is State.READY, record
        return record

    def begin(self, name: str, action: Action, queue: str = "quick", **changes: object) -> Job:
        """What the API does for a power action."""
        job = new_job(action, self.node, queue, internal_id=self.id_of(name))
        begun = self.containers.begin(self.record(name), action, job, **changes)
        assert begun == job.job_id
        return job

    def do(self, name: str, action: Action) -> Job:
        """Begin an action and do the worker's part of it at once."""
        return self.perform(self.begin(name, action))

    def perform(self, job: Job) -> Job:
        """Do the worker's part of a job that has begun."""
        self._runner.run(job.job_id)
        return job

    def run(self, job: Job) -> Job:
        """Do the worker's part of a job, as far as that goes now; the job afterwards."""
        self._runner.run(job.job_id)
        return self.jobs.get(job.job_id)

    def await_state(self, name: str, state: State, within_seconds: float = 10) -> Container:
        """Until the record says so."""

        def look() -> Container | None:
            record = self.record(name)
            return record if record.state is state else None

        return eventually(look, within_seconds=within_seconds, what=f"{name} being {state}")

    def await_end(self, job: Job, within_seconds: float = 10) -> Job:
        """Until the job has ended."""

        def look() -> Job | None:
            seen = self.jobs.get(job.job_id)
            return None if seen.is_open else seen

        return eventually(look, within_seconds=within_seconds, what=f"the end of the {job.kind} job")

    def work(self) -> None:
        """Do what the agent puts into the quick queue from now on."""
        self._worker = threading.Thread(target=self._work, daemon=True)
        self._worker.start()

    def _work(self) -> None:
        client = redis.Redis.from_url(self.settings.store_address)
        while not self._closing.is_set():
            taken = client.brpop([f"node.{self.node}.quick"], timeout=0.2)
            if taken:
                task = json.loads(base64.b64decode(json.loads(taken[1])["body"]))
                if len(task[0]) == 1:
                    self._runner.run(task[0][0])
        client.close()

    def send(self, name: str, line: str) -> str | None:
        """Have a line typed; answers why it was not."""
        try:
            self.orders.send_input(self.node, self.id_of(name), line)
        except LightdError as error:
            return error.message
        return None

    # What was seen.

    def output(self, name: str) -> bytes:
        """Everything on a container's console."""
        return "".join(output.data for output in self.console.since(self.id_of(name), 0)).encode()

    def feed(self, name: str) -> list[str]:
        """What watchers were told, as the `data` of each message."""
        return [json.loads(message)["data"] for _, message in self.containers.feed(self.id_of(name))]

    def log_text(self) -> str:
        """What the agent logged."""
        return self.agent_log.read_text() if self.agent_log.exists() else ""

    def close(self) -> None:
        """End the agent and remove everything from the engine."""
        self._closing.set()
        if self.agent and self.agent.poll() is None:
            self.kill_agent()
        if self._worker:
            self._worker.join(60)
        for found in self.engine.containers.list(all=True, filters={"label": f"lightd.node={self.node}"}):
            found.remove(force=True)
        for network in self.engine.networks.list(names=[self.settings.network]):
            network.remove()
        self.runtime.close()
        for client in (self.stores.record, self.stores.blocking, self.stores.stream, self.stores.stream_bytes):
            client.close()


def new_settings(data: Path, store_url: str, **changes: object) -> Settings:
    """Settings of a host of its own."""
    name = f"ag{secrets.token_hex(3)}"
    settings = Settings(
        data=data, redis_url=store_url, node=name, network=name, firewall=False, volume_driver="directory"
    )
    return replace(settings, **changes)  # type: ignore[arg-type]
