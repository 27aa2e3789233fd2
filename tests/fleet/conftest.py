"""A record store with one volume and a few ports, and the repositories on it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from fleet.lifecycle import InstallState, State
from fleet.models import Container, Job, Limits, Port, PortWish, Spec, Volume
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import JobRepository, new_job
from fleet.repositories.ports import PortRepository
from fleet.repositories.volumes import VolumeRepository
from fleet.store import Client

VOLUME = "d6764075-c5f1-4045-9fb3-85315b85cb0f"
NODE = "n1"


@dataclass(frozen=True)
class Record:
    """The repositories of one store, and the steps that tests begin with."""

    redis: Client
    containers: ContainerRepository
    jobs: JobRepository
    volumes: VolumeRepository
    ports: PortRepository

    def create(self, name: str, *wishes: PortWish) -> Job:
        """A new container on the volume, installing; answers its job."""
        now = int(time.time())
        job = new_job("install", NODE, "long", internal_id=name)
        container = Container(
            internal_id=name,
            node=NODE,
            volume_id=VOLUME,
            spec=Spec("image", "command", Limits(1 << 29, 1.0, 100)),
            ports=(),
            state=State.INSTALLING,
            install_state=InstallState.INSTALLING,
            container_id=None,
            job_id=job.job_id,
            created_at=now,
            updated_at=now,
        )
        self.containers.create(container, wishes, job)
        return job

    def ready(self, name: str, *wishes: PortWish) -> Container:
        """A container that is installed."""
        job = self.jobs.claim(self.create(name, *wishes).job_id, "w")
        self.containers.write(
            name,
            job,
            finish="done",
            state=State.READY,
            install_state=InstallState.READY,
            container_id="engine-1",
        )
        return self.containers.get(name)

    def running(self, name: str) -> tuple[Container, str]:
        """A container whose process runs, and the name of that run."""
        from fleet.lifecycle import Action

        container = self.ready(name)
        job = new_job("start", NODE, "quick", internal_id=name)
        self.containers.begin(container, Action.START, job)
        claimed = self.jobs.claim(job.job_id, "w")
        run = new_run()
        self.containers.write(name, claimed, finish="done", state=State.RUNNING, run=run, after_run=run)
        return self.containers.get(name), run


def new_run() -> str:
    """The name of a run that starts now."""
    return f"{time.time_ns():020d}"


@pytest.fixture
def record(store: Client) -> Record:
    now = int(time.time())
    volumes = VolumeRepository(store)
    volumes.save(Volume(VOLUME, NODE, "/x", 64, "loop", "ready", now, now))
    ports = PortRepository(store)
    ports.add([Port("0.0.0.0", 25565, "tcp", "", "", False), Port("0.0.0.0", 25566, "tcp", "n2", "", False)])
    return Record(store, ContainerRepository(store), JobRepository(store, store), volumes, ports)
