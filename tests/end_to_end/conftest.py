"""Fixtures of these tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import docker
import pytest
from docker.models.images import Image

from tests.support.images import UBUNTU
from tests.support.servers import servers
from tests.support.stack import Stack

__all__ = ["servers"]

_JAVA = "lightd-test/java:17"
# Stands where a Java runtime would: it reads the "jar" that it is told to run, says so, and waits for commands.
_JAVA_PROGRAM = r"""cat > /usr/bin/java <<'END'
#!/bin/bash
while [ "$1" != -jar ]; do shift; done
echo "Loading $2: $(cat "$2"), $(cat eula.txt)"
echo 'Done (0.1s)! For help, type "help"'
while read -r line; do [ "$line" = stop ] && exit 0; done
END
chmod 755 /usr/bin/java"""


@pytest.fixture(scope="session")
def java_image(engine: docker.DockerClient, debian_image: Image) -> Iterator[str]:
    """The Debian image with a program `/usr/bin/java` that behaves as a game's jar would; its tag."""
    container = engine.containers.run(debian_image, ["bash", "-c", _JAVA_PROGRAM], detach=True)
    try:
        assert container.wait(timeout=60)["StatusCode"] == 0
        repository, _, tag = _JAVA.partition(":")
        container.commit(repository, tag)
    finally:
        container.remove(force=True)
    yield _JAVA
    engine.images.remove(_JAVA)


@pytest.fixture
def port_25565() -> int:
    """Minecraft's port, which the documents use and which therefore must be free on this machine."""
    _must_be_free(socket.SOCK_STREAM, 25565)
    return 25565


@pytest.fixture(scope="session")
def port_30000() -> int:
    """Minetest's UDP port, which must be free on this machine."""
    _must_be_free(socket.SOCK_DGRAM, 30000)
    return 30000


def _must_be_free(kind: socket.SocketKind, port: int) -> None:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            pytest.fail(f"Port {port} must be free for this test: {error}.", pytrace=False)


@pytest.fixture
def ubuntu(debian_image: Image) -> str:
    """`ubuntu:22.04`, a real root file system with bash."""
    return UBUNTU


@pytest.fixture
def emptied_afterwards(stack: Stack) -> Iterator[None]:
    """Whatever a document's commands made and a failure left is deleted, so that the next test can use its names."""
    yield
    stack.delete_everything()
