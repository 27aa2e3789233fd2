"""Where chaos happens: a whole Lightd whose engine, stores and disk are its own, so that each may be hurt."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import JobRepository
from fleet.repositories.ports import PortRepository
from fleet.repositories.volumes import VolumeRepository
from fleet.settings import Settings
from fleet.store import connect
from storage.volumes.mounts import mount_image, unmount
from tests.agent.own_engine import OwnEngine
from tests.support.leftovers import leftovers
from tests.support.stack import Stack

DISK_MB = 448
_MEBIBYTE = 1024 * 1024
_SETTINGS = {
    "LIGHTD_VOLUME_ALLOCATION": "full",
    "LIGHTD_DISK_FLOOR_MB": "0",  # a full disk shall be met, not avoided
    "LIGHTD_FIREWALL": "false",  # the second engine leaves iptables to the first
}


@dataclass
class Place:
    """The parts of it; `disk` is the small file system that holds the volumes."""

    stack: Stack
    engine: OwnEngine
    disk: Path

    def __post_init__(self) -> None:
        self.settings = Settings(data=self.stack.data, node=self.stack.node, network=self.stack.network)
        stores = connect(self.settings)
        self.record = stores.record
        self.containers = ContainerRepository(stores.record)
        self.jobs = JobRepository(stores.record, stores.blocking)
        self.ports = PortRepository(stores.record)
        self.volumes = VolumeRepository(stores.record)

    def left(self) -> list[str]:
        """What is still there of it."""
        with closing(self.engine.client()) as client:
            found = leftovers(client, self.stack.node, self.stack.data)
        return [what for what in found if what != f"mount {self.disk}"]


@contextmanager
def place_of_chaos(first: docker.DockerClient) -> Iterator[Place]:
    """A running one; all of it is gone at the end. `first` is the engine that lends its small image."""
    folder = Path(tempfile.mkdtemp(prefix="lightd-chaos-"))
    with ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        disk = _small_disk(folder, cleanup)
        engine = OwnEngine(folder / "e")
        engine.start()
        cleanup.callback(engine.close)
        engine.take_busybox(first)
        stack = Stack(folder / "data", LIGHTD_ENGINE=engine.address, **_SETTINGS)
        cleanup.callback(stack.lightd, "down", check=False)
        stack.up()
        yield Place(stack, engine, disk)


def _small_disk(folder: Path, cleanup: ExitStack) -> Path:
    image, disk = folder / "disk", folder / "data" / "volumes"
    disk.mkdir(parents=True)
    with image.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, DISK_MB * _MEBIBYTE)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
    mount_image(image, disk)
    cleanup.callback(_unmount_all, disk)
    return disk


def _unmount_all(disk: Path) -> None:
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in reversed([point for point in mounted if point.startswith(f"{disk}/")]):
        unmount(Path(point), detach=True)
    unmount(disk, detach=True)
