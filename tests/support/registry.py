"""A registry on loopback, so that pulls and their errors are real."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
import requests
from docker.models.images import Image

from tests.support.deadline import eventually
from tests.support.ports import free_port


@dataclass(frozen=True)
class Registry:
    """A running docker-registry; the engine trusts it without TLS because it is on loopback."""

    address: str
    client: docker.DockerClient

    def push(self, image: Image, name: str) -> str:
        """Put `image` into the registry as `name` (`game:1`); returns the reference to pull it by.

        The engine keeps no tag of it; its layers stay while another tag holds them.
        """
        repository, _, tag = name.partition(":")
        reference = f"{self.address}/{repository}:{tag or 'latest'}"
        image.tag(reference)
        try:
            for line in self.client.images.push(reference, stream=True, decode=True):
                assert "error" not in line, line
        finally:
            self.client.images.remove(reference)
        return reference


@pytest.fixture(scope="session")
def registry(engine: docker.DockerClient) -> Iterator[Registry]:
    """An empty registry on a free port of 127.0.0.1."""
    binary = shutil.which("docker-registry")
    if binary is None:
        pytest.fail("docker-registry is missing; run ./lightd test, which installs it.", pytrace=False)
    with tempfile.TemporaryDirectory(prefix="lightd-test-registry-") as folder:
        address = f"127.0.0.1:{free_port()}"
        process = _serve(binary, Path(folder), address)
        try:
            eventually(lambda: _answers(address), within_seconds=20, what="an answer of docker-registry")
            yield Registry(address, engine)
        finally:
            process.terminate()
            process.wait(20)


def _serve(binary: str, folder: Path, address: str) -> subprocess.Popen[bytes]:
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\n"
        "log: {level: warn}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen([binary, "serve", str(config)], stdout=log, stderr=log, env=environment)


def _answers(address: str) -> bool:
    try:
        return requests.get(f"http://{address}/v2/", timeout=2).ok
    except requests.ConnectionError:
        return False
