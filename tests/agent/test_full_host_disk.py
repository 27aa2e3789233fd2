"""A container on a sparse volume fills its host's disk: it is stopped in time, and loses nothing that it wrote."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.images import Image

from fleet.lifecycle import Action
from fleet.store import Client
from storage.volumes import Volumes, volume_path
from storage.volumes.layout import image_path
from storage.volumes.mounts import mount_image, unmount, wait_until_dead
from storage.volumes.sparse import reopening_bytes, room_bytes
from tests.agent.bench import Bench, new_settings
from tests.support.deadline import eventually

pytestmark = pytest.mark.engine

MEBIBYTE = 1024 * 1024
DISK_MB = 352
FLOOR_MB = 128
OTHER_MB = 60
SETTINGS = {
    "LIGHTD_VOLUME_DRIVER": "loop",
    "LIGHTD_VOLUME_ALLOCATION": "sparse",
    "LIGHTD_DISK_FLOOR_MB": str(FLOOR_MB),
}
WRITE_PIECES = """n=0
while true; do
  if dd if=seed of=big bs=1M count=1 seek=$n conv=notrunc 2>/dev/null; then
    n=$((n + 1)); echo "line $n"
  else
    echo "no space after $n"; sleep 0.2
  fi
  usleep 20000
done"""


@pytest.fixture
def small_host(
    engine: docker.DockerClient, busybox_image: Image, store: Client, store_url: str, tmp_path: Path
) -> Iterator[Bench]:
    """A host whose volumes are sparse and together larger than its disk, of which something else takes a part."""
    disk, data = tmp_path / "disk", tmp_path / "data"
    data.mkdir()
    with disk.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, DISK_MB * MEBIBYTE)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", disk], check=True)
    mount_image(disk, data)
    changes = {"volume_driver": "loop", "volume_allocation": "sparse", "disk_floor_mb": FLOOR_MB}
    made = Bench(engine, new_settings(data, store_url, **changes))
    try:
        with (data / "something else").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, OTHER_MB * MEBIBYTE)
        made.runtime.ensure_network(made.settings.network)
        yield made
    finally:
        print(made.log_text())
        made.close()
        for volume_id in Volumes(made.settings).known():
            Volumes(made.settings).delete(volume_id)
        unmount(data, detach=True)


def test_a_container_that_fills_the_disk_under_its_sparse_volume_loses_nothing(small_host: Bench) -> None:
    volume_id = small_host.install("writer", WRITE_PIECES).volume_id
    small_host.install("other", "true")
    Volumes(small_host.settings).resize(volume_id, 1024)
    folder = volume_path(small_host.settings, volume_id)
    seed = os.urandom(MEBIBYTE)
    (folder / "seed").write_bytes(seed)
    os.chown(folder / "seed", 1000, 1000)
    os.chown(folder, 1000, 1000)
    small_host.start_agent(**SETTINGS)
    small_host.await_agent()
    small_host.do("writer", Action.START)
    eventually(lambda: is_stopped(small_host), within_seconds=60, what="the end of the space")
    stopped_after = pieces(small_host)
    assert stopped_after > 20, "there was room at first"
    eventually(lambda: told(small_host, "almost full"), within_seconds=15, what="the message")

    refused = small_host.do("other", Action.START)
    assert small_host.jobs.get(refused.job_id).state == "failed"
    assert "LIGHTD_DISK_FLOOR_MB" in str(small_host.jobs.get(refused.job_id).error)

    (small_host.settings.data / "something else").unlink()
    eventually(lambda: told(small_host, "has room again"), within_seconds=30, what="the second message")
    eventually(lambda: pieces(small_host) > stopped_after, within_seconds=30, what="the writing to go on")

    small_host.engine.containers.get(small_host.engine_name("writer")).kill()
    written = pieces(small_host)
    small_host.kill_agent()
    os.sync()
    assert unmount(folder, detach=False)
    image = image_path(small_host.settings, volume_id)
    eventually(lambda: wait_until_dead(image), within_seconds=60, what="other containers to have started")
    subprocess.run(["e2fsck", "-f", "-n", image], check=True, capture_output=True)
    Volumes(small_host.settings).ensure_mounted(volume_id)
    with (folder / "big").open("rb") as file:
        assert all(file.read(MEBIBYTE) == seed for _ in range(written))


def is_stopped(host: Bench) -> bool:
    """Whether the disk itself is down to its floor, and the container was refused."""
    down = room_bytes(host.settings) < reopening_bytes(host.settings)
    return down and host.output("writer").decode().splitlines()[-1].startswith("no space")


def pieces(host: Bench) -> int:
    """How many pieces the container wrote and was not refused."""
    lines = [line.split() for line in host.output("writer").decode().splitlines()]
    return max((int(words[1]) for words in lines if words[:1] == ["line"]), default=0)


def told(host: Bench, text: str) -> bool:
    return any(text in data for data in host.feed("writer"))
