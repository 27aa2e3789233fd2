"""The doctor put together. What it mends, it mends as the agent does: with an agent that is not running."""

from __future__ import annotations

from collections.abc import Callable

from fleet.models import Job
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import JobRepository
from fleet.repositories.nodes import NodeRepository
from fleet.repositories.ports import PortRepository
from fleet.repositories.volumes import VolumeRepository
from fleet.settings import Settings
from fleet.store import Stores, connect
from storage.volumes import Volumes
from worker.agent.agent import Agent
from worker.agent.strays import Strays
from worker.doctor.containers import ContainerCheck
from worker.doctor.doctor import Doctor
from worker.doctor.ports import PortCheck
from worker.doctor.volumes import VolumeCheck
from worker.known_store import known_store_of
from worker.runtime.base import Runtime
from worker.runtime.docker import DockerRuntime


def doctor_of_host(settings: Settings, dispatch: Callable[[Job], None]) -> Doctor:
    """The doctor of this host; nothing is connected until it looks."""
    runtime = DockerRuntime(settings.engine, settings.engine_timeout_seconds)
    return create_doctor(settings, connect(settings), runtime, dispatch)


def create_doctor(settings: Settings, stores: Stores, runtime: Runtime, dispatch: Callable[[Job], None]) -> Doctor:
    """A doctor with these stores and this engine."""
    containers, volumes = ContainerRepository(stores.record), VolumeRepository(stores.record)
    nodes = NodeRepository(stores.record, settings.node_timeout_seconds)
    store = known_store_of(settings, runtime, containers, volumes, nodes)
    agent = Agent(settings, stores, runtime, dispatch, lambda _node, _queue: None)
    jobs = JobRepository(stores.record, stores.blocking)
    strays = Strays(settings, runtime, containers, store)
    checks = (
        ContainerCheck(settings, runtime, containers, jobs, strays, agent.reconciler.compare).look,
        PortCheck(settings.node, PortRepository(stores.record), containers).look,
        VolumeCheck(settings, volumes, Volumes(settings), agent.leftovers).look,
    )
    return Doctor(store, checks, agent.firewall if settings.firewall else None)
