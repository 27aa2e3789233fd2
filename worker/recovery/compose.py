"""Recovery put together: stores, engine, volumes."""

from __future__ import annotations

from fleet.console import Console
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.nodes import NodeRepository
from fleet.repositories.recovery import RecoveryRepository
from fleet.repositories.volumes import VolumeRepository
from fleet.settings import Settings
from fleet.store import connect
from storage.volumes import Volumes
from worker.known_store import known_store_of
from worker.recovery.recover import Recovery
from worker.runtime.docker import DockerRuntime


def create_recovery(settings: Settings) -> Recovery:
    """What brings this host's record back; nothing is connected until it runs."""
    stores = connect(settings)
    runtime = DockerRuntime(settings.engine, settings.engine_timeout_seconds)
    nodes = NodeRepository(stores.record, settings.node_timeout_seconds)
    containers, volumes = ContainerRepository(stores.record), VolumeRepository(stores.record)
    return Recovery(
        settings=settings,
        runtime=runtime,
        volumes=Volumes(settings),
        records=RecoveryRepository(stores.record),
        console=Console(stores.stream_bytes, settings.console_history_kb),
        store=known_store_of(settings, runtime, containers, volumes, nodes),
    )
