"""What the routes work with, put together once per process and handed to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import current_app

from app.files_client import FilesClient
from app.node_states import NodeStates
from app.volumes.turns import Turns
from fleet.console import Console
from fleet.models import Job
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.idempotency import Idempotency
from fleet.repositories.jobs import JobRepository
from fleet.repositories.logins import Logins
from fleet.repositories.nodes import NodeRepository
from fleet.repositories.ports import PortRepository
from fleet.repositories.tokens import TokenRepository
from fleet.repositories.volumes import VolumeRepository
from fleet.settings import Settings
from fleet.stats import StatsStore
from fleet.store import Stores

Dispatch = Callable[[Job], None]
"""Puts a recorded job into its host's queue."""

_EXTENSION = "lightd"


@dataclass(frozen=True, slots=True)
class Services:
    """Settings, stores, repositories and the ways out of this process."""

    settings: Settings
    stores: Stores
    containers: ContainerRepository
    idempotency: Idempotency
    jobs: JobRepository
    logins: Logins
    nodes: NodeRepository
    ports: PortRepository
    tokens: TokenRepository
    volumes: VolumeRepository
    console: Console
    stats: StatsStore
    node_states: NodeStates
    files: FilesClient
    turns: Turns
    dispatch: Dispatch


def make_services(settings: Settings, stores: Stores, dispatch: Dispatch) -> Services:
    """Build everything on the given stores; nothing is connected yet."""
    nodes = NodeRepository(stores.record, settings.node_timeout_seconds)
    tokens = TokenRepository(stores.record)
    return Services(
        settings=settings,
        stores=stores,
        containers=ContainerRepository(stores.record),
        idempotency=Idempotency(stores.record, settings.idempotency_keys),
        jobs=JobRepository(stores.record, stores.blocking),
        logins=Logins(stores.record, tokens, settings.login_failures_per_minute),
        nodes=nodes,
        ports=PortRepository(stores.record),
        tokens=tokens,
        volumes=VolumeRepository(stores.record),
        console=Console(stores.stream_bytes, settings.console_history_kb),
        stats=StatsStore(stores.stream_bytes),
        node_states=NodeStates(nodes),
        files=FilesClient(settings.signing_key()),
        turns=Turns(),
        dispatch=dispatch,
    )


def services() -> Services:
    """The services of the application that handles the current request."""
    found: Services = current_app.extensions[_EXTENSION]
    return found
