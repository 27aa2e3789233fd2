"""A bench for the agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.images import Image

from fleet.store import Client
from tests.agent.bench import Bench, new_settings
from tests.support.own_store import OwnStore


@pytest.fixture
def bench(
    engine: docker.DockerClient, busybox_image: Image, store: Client, store_url: str, tmp_path: Path
) -> Iterator[Bench]:
    """A host with an empty record; its agent is not running yet."""
    made = Bench(engine, new_settings(tmp_path, store_url))
    try:
        made.runtime.ensure_network(made.settings.network)
        yield made
    finally:
        made.close()
        print(made.log_text())


@pytest.fixture(scope="module")
def host(
    engine: docker.DockerClient, busybox_image: Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """A host with a store of its own and an agent at work, shared by the tests of a module."""
    folder = tmp_path_factory.mktemp("host")
    store = OwnStore(folder / "store")
    store.start()
    made = Bench(engine, new_settings(folder / "data", store.url))
    try:
        made.runtime.ensure_network(made.settings.network)
        made.start_agent()
        made.await_agent()
        made.work()
        yield made
    finally:
        made.close()
        store.stop()
        print(made.log_text())
