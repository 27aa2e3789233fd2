"""A host with a real record store, an engine in memory, and the steps that clients and agent would do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fleet.console import Console
from fleet.lifecycle import Action, InstallState, State
from fleet.models import Container, Job, Limits, Port, PortWish, Spec, Volume
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import JobRepository, new_job
from fleet.repositories.ports import PortRepository
from fleet.repositories.volumes import VolumeRepository
from fleet.settings import Settings
from fleet.stats import StatsStore
from fleet.store import Client, connect
from storage.beneath import Root, opened_root
from storage.volumes.driver import MEBIBYTE, Usage
from worker.console.ended_run import ended_run
from worker.operations.host import Host
from worker.operations.names import install_name, server_name
from worker.operations.run import Runner
from worker.runtime.memory import Behaviour, MemoryRuntime

VOLUME = "d6764075-c5f1-4045-9fb3-85315b85cb0f"
NODE = "n1"
IMAGE = "debian:12"
GAME_PORT = PortWish("tcp", ip="0.0.0.0", port=25565)


@dataclass
class FolderVolumes:
    """Volumes that are plain folders; `failure` is raised instead when it is set."""

    folder: Path
    failure: Exception | None = None
    used_bytes: int = 0

    def ensure_mounted(self, volume_id: str) -> Path:
        if self.failure:
            raise self.failure
        path = self.folder / volume_id
        path.mkdir(parents=True, exist_ok=True)
        return path

    def is_mounted(self, volume_id: str) -> bool:
        return (self.folder / volume_id).exists()

    def usage(self, volume_id: str) -> Usage:  # noqa: ARG002 (all are the same)
        return Usage(64, self.used_bytes, 64 * MEBIBYTE)

    @contextmanager
    def opened_alone(self, volume_id: str) -> Iterator[Root]:
        with opened_root(self.ensure_mounted(volume_id), (1000, 1000)) as root:
            yield root


@dataclass
class Site:
    """One host: `create`, `ask` and `run` are what API and queue do, `see_exit` is what the agent does."""

    redis: Client
    host: Host
    runtime: MemoryRuntime
    volumes: FolderVolumes
    relayed: list[str] = field(default_factory=list)

    @property
    def runner(self) -> Runner:
        """A worker process that has just begun."""
        return Runner(self.host)

    def create(self, name: str, *wishes: PortWish, **changes: Any) -> Job:
        """A container that is to be installed; `changes` are fields of its spec."""
        now = int(time.time())
        job = new_job("install", NODE, "long", internal_id=name)
        spec = Spec(IMAGE, "run-the-server", Limits(1 << 29, 1.0, 100))
        container = Container(
            internal_id=name,
            node=NODE,
            volume_id=VOLUME,
            spec=replace(spec, **changes),
            ports=(),
            state=State.INSTALLING,
            install_state=InstallState.INSTALLING,
            container_id=None,
            job_id=job.job_id,
            created_at=now,
            updated_at=now,
        )
        self.host.containers.create(container, wishes, job)
        return job

    def ready(self, name: str, *wishes: PortWish, **changes: Any) -> Container:
        """An installed container."""
        self.run(self.create(name, *wishes, **changes))
        container = self.container(name)
        assert container.state is State.READY, container.error
        return container

    def running(self, name: str, *wishes: PortWish, **changes: Any) -> Container:
        """A container whose process runs."""
        self.ready(name, *wishes, **changes)
        self.run(self.ask(name, Action.START))
        container = self.container(name)
        assert container.state is State.RUNNING, container.error
        return container

    def ask(self, name: str, action: Action, **changes: Any) -> Job:
        """Ask for an action as the API does."""
        queues = {Action.KILL: "agent", Action.REINSTALL: "long"}
        job = new_job(action, NODE, queues.get(action, "quick"), internal_id=name)
        if action is Action.DELETE:
            changes["deleting"] = True
        begun = self.host.containers.begin(self.container(name), action, job, **changes)
        assert begun == job.job_id
        return job

    def rebind(self, name: str, *wishes: PortWish) -> Job:
        """Ask for other ports as the API does."""
        return self.ask(name, Action.REBIND, wishes=wishes)

    def run(self, job: Job) -> Job:
        """Have a worker take the job; the job afterwards."""
        self.runner.run(job.job_id)
        return self.job(job)

    def see_exit(self, name: str) -> str:
        """What the agent does when the engine says that the process has ended; the restart that goes on, or ''."""
        seen = self.runtime.inspect(server_name(name))
        assert seen is not None and not seen.running
        run = ended_run(seen, self.host.containers.history.last_end(name))
        return self.host.containers.exited(name, NODE, seen.engine_id, run)[1]

    def job(self, job: Job) -> Job:
        """The job as it is now."""
        return self.host.jobs.get(job.job_id)

    def container(self, name: str) -> Container:
        """The container as it is now."""
        return self.host.containers.get(name)

    def told(self, name: str) -> list[str]:
        """What watchers were told, without progress."""
        messages = [json.loads(message) for _, message in self.host.containers.feed(name)]
        return [message["data"] for message in messages if "data" in message]

    def install_behaves(self, name: str, **behaviour: Any) -> None:
        """Say what the install script of a container does."""
        self.runtime.behaviours[install_name(name)] = Behaviour(**{"seconds": 0, **behaviour})

    def process_behaves(self, name: str, **behaviour: Any) -> None:
        """Say what the server process of a container does."""
        self.runtime.behaviours[server_name(name)] = Behaviour(**behaviour)

    def port_is_free(self) -> bool:
        """Whether nobody holds GAME_PORT."""
        return not PortRepository(self.redis).get("0.0.0.0", 25565, "tcp").in_use


@pytest.fixture
def site(store: Client, store_url: str, tmp_path: Path) -> Iterator[Site]:
    now = int(time.time())
    VolumeRepository(store).save(Volume(VOLUME, NODE, "/x", 64, "loop", "ready", now, now))
    PortRepository(store).add([Port("0.0.0.0", 25565, "tcp", "", "", False)])
    settings = Settings(data=tmp_path, redis_url=store_url, stream_url=store_url, node=NODE)
    stores = connect(settings)
    runtime, volumes = MemoryRuntime(images={IMAGE}, networks={settings.network}), FolderVolumes(tmp_path / "volumes")
    relayed: list[str] = []

    def relay(_console: Console, _settings: Settings, name: str, _id: str, _stop: Callable[[], bool]) -> bytes:
        relayed.append(name)
        return b""

    host = Host(
        settings=settings,
        containers=ContainerRepository(stores.record),
        jobs=JobRepository(stores.record, stores.blocking),
        console=Console(stores.stream_bytes),
        stats=StatsStore(stores.stream_bytes),
        runtime=runtime,
        volumes=volumes,
        relay=relay,
    )
    yield Site(store, host, runtime, volumes, relayed)
    for client in (stores.record, stores.blocking, stores.stream, stores.stream_bytes):
        client.close()
        client.connection_pool.disconnect()
