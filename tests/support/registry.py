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

USERNAME, PASSWORD = "operator", "planted-registry-password"
_HTPASSWD = f"{USERNAME}:$2b$04$f/o/qUgGYKn2KyjpSL3PKuZGptnAS20eq.78zLXavRPQacY1R.L.i\n"
"""The password as bcrypt, which is all that the registry takes."""


@dataclass(frozen=True)
class Registry:
    """A running docker-registry; the engine trusts it without TLS because it is on loopback."""

    address: str
    client: docker.DockerClient
    asks_for_login: bool = False

    def push(self, image: Image, name: str) -> str:
        """Put `image` into the registry as `name` (`game:1`); returns the reference to pull it by.

        The engine keeps no tag of it; its layers stay while another tag holds them.
        """
        repository, _, tag = name.partition(":")
        reference = f"{self.address}/{repository}:{tag or 'latest'}"
        image.tag(reference)
        try:
            login = {"username": USERNAME, "password": PASSWORD} if self.asks_for_login else None
            for line in self.client.images.push(reference, stream=True, decode=True, auth_config=login):
                assert "error" not in line, line
        finally:
            self.client.images.remove(reference)
        return reference

    def retag(self, repository: str, old: str, new: str) -> None:
        """Give what one tag means another tag too, without the engine."""
        base = f"http://{self.address}/v2/{repository}/manifests"
        media_type = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = requests.get(f"{base}/{old}", headers={"Accept": media_type}, timeout=60).content
        answer = requests.put(f"{base}/{new}", data=manifest, headers={"Content-Type": media_type}, timeout=60)
        assert answer.status_code == 201, answer.text


@pytest.fixture(scope="session")
def registry(engine: docker.DockerClient) -> Iterator[Registry]:
    """An empty registry on a free port of 127.0.0.1."""
    yield from _running(engine, asks_for_login=False)


@pytest.fixture(scope="session")
def guarded_registry(engine: docker.DockerClient) -> Iterator[Registry]:
    """One that asks for USERNAME and PASSWORD."""
    yield from _running(engine, asks_for_login=True)


def _running(engine: docker.DockerClient, *, asks_for_login: bool) -> Iterator[Registry]:
    binary = shutil.which("docker-registry")
    if binary is None:
        pytest.fail("docker-registry is missing; run ./lightd test, which installs it.", pytrace=False)
    with tempfile.TemporaryDirectory(prefix="lightd-test-registry-") as folder:
        address = f"127.0.0.1:{free_port()}"
        process = _serve(binary, Path(folder), address, asks_for_login)
        try:
            eventually(lambda: _answers(address), within_seconds=20, what="an answer of docker-registry")
            yield Registry(address, engine, asks_for_login)
        finally:
            process.terminate()
            process.wait(60)


def _serve(binary: str, folder: Path, address: str, asks_for_login: bool) -> subprocess.Popen[bytes]:
    config, passwords = folder / "config.yml", folder / "htpasswd"
    passwords.write_text(_HTPASSWD)
    guard = f"auth: {{htpasswd: {{realm: test, path: {passwords}}}}}\n" if asks_for_login else ""
    config.write_text(
        "version: 0.1\n"
        "log: {level: warn}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{address}'}}\n{guard}"
    )
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen([binary, "serve", str(config)], stdout=log, stderr=log, env=environment)


def _answers(address: str) -> bool:
    try:
        return requests.get(f"http://{address}/v2/", timeout=2).status_code in (200, 401)
    except requests.ConnectionError:
        return False
