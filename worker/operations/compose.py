"""A worker process put together: stores, engine, volumes."""

from __future__ import annotations

from fleet.console import Console
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import JobRepository
from fleet.repositories.nodes import NodeRepository
from fleet.settings import Settings
from fleet.stats import StatsStore
from fleet.store import connect
from storage.volumes import Volumes
from worker.console.relay import relay
from worker.firewall import firewall_of
from worker.known_store import KnownStore
from worker.operations.host import Host
from worker.operations.run import Runner
from worker.runtime.docker import DockerRuntime
from worker.runtime.registry_logins import RegistryLogins


def create_runner(settings: Settings) -> Runner:
    """What does this process's jobs; nothing is connected until the first one."""
    stores = connect(settings)
    nodes = NodeRepository(stores.record, settings.node_timeout_seconds)
    host = Host(
        settings=settings,
        containers=ContainerRepository(stores.record),
        jobs=JobRepository(stores.record, stores.blocking),
        console=Console(stores.stream_bytes, settings.console_history_kb),
        stats=StatsStore(stores.stream_bytes),
        runtime=DockerRuntime(
            settings.engine, settings.engine_timeout_seconds, RegistryLogins(settings.registry_logins)
        ),
        volumes=Volumes(settings),
        relay=relay,
        knows_store=KnownStore(nodes, settings.data, node=settings.node).is_known,
        firewall=firewall_of(settings) if settings.firewall else None,
    )
    return Runner(host)
