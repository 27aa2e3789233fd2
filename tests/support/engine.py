"""The real Docker engine."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest
from docker.errors import DockerException

from fleet.settings import read_settings


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A client of the engine at `LIGHTD_ENGINE`. Tests remove what they make in it, and nothing else."""
    address = read_settings().engine
    try:
        client = docker.DockerClient(base_url=address, version="auto", timeout=60)
    except DockerException as error:
        pytest.fail(f"No Docker engine answers at {address} ({error}); ./lightd test starts one.", pytrace=False)
    yield client
    client.close()
