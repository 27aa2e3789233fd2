"""The disk under the store runs full: nothing more is accepted, nothing acknowledged is lost, and it heals alone."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import docker
import pytest
from docker.models.images import Image

from storage.volumes.mounts import mount_image, unmount
from tests.support.answers import accepted, refused
from tests.support.deadline import eventually
from tests.support.servers import Servers
from tests.support.stack import Stack, remove_network

pytestmark = [pytest.mark.engine, pytest.mark.slow]

DISK_MB = 256
_ADDRESS = "127.81.0.1"


@pytest.fixture
def small(engine: docker.DockerClient) -> Iterator[Stack]:
    """A Lightd whose whole data folder lies on a small disk."""
    folder = Path(tempfile.mkdtemp(prefix="lightd-full-"))
    image, data = folder / "disk", folder / "data"
    data.mkdir()
    with image.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, DISK_MB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
    with ExitStack() as cleanup:
        cleanup.callback(image.unlink)
        mount_image(image, data)
        cleanup.callback(unmount, data, detach=True)
        stack = Stack(data, LIGHTD_DISK_FLOOR_MB="16", LIGHTD_VOLUME_ALLOCATION="full")
        cleanup.callback(remove_network, engine, stack.network)
        cleanup.callback(stack.lightd, "down", check=False)
        stack.up()
        yield stack
        stack.delete_everything()


def fill(path: Path) -> None:
    """Take all space there is."""
    with path.open("wb", buffering=0) as file:
        for piece in (1 << 20, 1 << 12, 1 << 10, 1):
            with suppress(OSError):
                while True:
                    file.write(b"x" * piece)
        with suppress(OSError):
            os.fsync(file.fileno())


def test_what_was_acknowledged_before_the_disk_ran_full_is_there_when_it_has_room_again(
    small: Stack, busybox_image: Image
) -> None:
    servers = Servers(small)
    runs = servers.run("exec sleep 1000")
    pool: list[int] = []

    def is_refused() -> bool:
        port = 21000 + len(pool)
        answer = small.api("POST", "/network/ports", json={"ip": _ADDRESS, "port": port})
        if answer.status_code == 503:
            assert refused(answer, 503) and int(answer.headers["Retry-After"]) >= 1
            return True
        accepted(answer)
        pool.append(port)
        return False

    fill(small.data / "filler")
    eventually(is_refused, within_seconds=30, what="a refusal")
    (small.data / "filler").unlink()
    small.wait_ready()
    listed = accepted(small.api("GET", "/network/ports?limit=1000"))["ports"]
    assert {port["port"] for port in listed if port["ip"] == _ADDRESS} >= set(pool)
    assert servers.record(runs)["state"] == "running"
    servers.act(runs, "kill")
    small.wait_for_state(runs, "ready")
