"""What a test run leaves is removed and told; what others have on the same machine is left alone."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.images import Image

from scripts.remains import NODE_LABEL, TEST_NETWORK, TEST_NODE, Remains
from tests.launcher.supervised import is_alive
from tests.support.deadline import eventually

pytestmark = pytest.mark.engine


class Things:
    """A container and a network that carry the tag of some test run."""

    def __init__(self, engine: docker.DockerClient, image: Image) -> None:
        self.run = secrets.token_hex(3)
        self._engine = engine
        self.container = f"lightd-{self.run}"
        self.network = f"{TEST_NETWORK}{self.run}ab"
        engine.containers.create(
            image, "true", name=self.container, network_mode="none", labels={NODE_LABEL: f"{TEST_NODE}{self.run}ab"}
        )
        engine.api.create_network(self.network, options={"com.docker.network.bridge.name": self.network})

    def exist(self) -> list[str]:
        """Names of those that are there."""
        containers = self._engine.api.containers(all=True, filters={"name": self.container})
        networks = self._engine.api.networks(names=[self.network])
        return [*(self.container for _ in containers), *(self.network for _ in networks)]

    def remove(self) -> None:
        """Remove those that are still there."""
        for name in self.exist():
            if name == self.container:
                self._engine.api.remove_container(name, force=True)
            else:
                self._engine.api.remove_network(name)


@pytest.fixture
def ours(engine: docker.DockerClient, busybox_image: Image) -> Iterator[Things]:
    """Things that the run under test has left."""
    things = Things(engine, busybox_image)
    yield things
    things.remove()


@pytest.fixture
def strangers(engine: docker.DockerClient, busybox_image: Image) -> Iterator[Things]:
    """Things of another run on the same machine, made while ours was under way."""
    things = Things(engine, busybox_image)
    yield things
    things.remove()


def test_only_what_carries_the_tag_of_this_run_is_removed(
    engine: docker.DockerClient, ours: Things, strangers: Things, tmp_path: Path
) -> None:
    told = Remains(engine, ours.run, tmp_path).remove()
    assert told == [f"container {ours.container}", f"network {ours.network}"]
    assert ours.exist() == []
    assert strangers.exist() == [strangers.container, strangers.network]


def test_nothing_is_told_when_nothing_is_left(engine: docker.DockerClient, tmp_path: Path) -> None:
    assert Remains(engine, secrets.token_hex(3), tmp_path).remove() == []


def test_processes_and_mounts_of_this_run_end(engine: docker.DockerClient, tmp_path: Path) -> None:
    (tmp_path / "mounted").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(tmp_path / "mounted")], check=True)
    mine = subprocess.Popen(["sleep", "600"], env={**os.environ, "TMPDIR": str(tmp_path)})
    other = subprocess.Popen(["sleep", "600"], env={**os.environ, "TMPDIR": f"{tmp_path}-other"})
    try:
        told = Remains(engine, secrets.token_hex(3), tmp_path).remove()
        assert told == [f"process {mine.pid} (sleep 600)", f"mount {tmp_path}/mounted"]
        eventually(lambda: not is_alive(mine.pid), within_seconds=5, what="the end of the process")
        assert is_alive(other.pid)
    finally:
        for process in (mine, other):
            process.kill()
            process.wait()
