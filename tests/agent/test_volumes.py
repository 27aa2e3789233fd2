"""What the agent does for volumes: mounted after a reboot, their record true, and watchers told when one is full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.images import Image

from fleet.lifecycle import Action, State
from fleet.store import Client
from storage.volumes import Usage, Volumes, volume_path
from storage.volumes.mounts import is_mounted, unmount
from tests.agent.bench import Bench, new_settings
from tests.support.deadline import eventually
from worker.agent.space import is_full

pytestmark = pytest.mark.engine

MEBIBYTE = 1024 * 1024


@pytest.fixture
def loop_bench(
    engine: docker.DockerClient, busybox_image: Image, store: Client, store_url: str, tmp_path: Path
) -> Iterator[Bench]:
    """A host whose volumes are loop-mounted images; its agent is not running yet."""
    made = Bench(engine, new_settings(tmp_path, store_url, volume_driver="loop", volume_allocation="sparse"))
    try:
        made.runtime.ensure_network(made.settings.network)
        yield made
    finally:
        made.close()
        for volume in Volumes(made.settings).all():
            Volumes(made.settings).delete(volume.volume_id)
        print(made.log_text())


def test_an_agent_that_starts_mounts_what_a_reboot_unmounted(loop_bench: Bench) -> None:
    volume_id = loop_bench.install("server", "true").volume_id
    folder = volume_path(loop_bench.settings, volume_id)
    (folder / "kept").write_text("x")
    assert unmount(folder, detach=False)
    loop_bench.start_agent(LIGHTD_VOLUME_DRIVER="loop", LIGHTD_VOLUME_ALLOCATION="sparse")
    eventually(lambda: is_mounted(folder), within_seconds=20, what="the mount")
    assert (folder / "kept").read_text() == "x"


def test_a_resize_that_the_api_never_heard_of_gets_into_the_record(bench: Bench) -> None:
    volume_id = bench.install("server", "true").volume_id
    Volumes(bench.settings).resize(volume_id, 48)
    assert bench.volumes.find(volume_id).quota_mb == 16
    bench.start_agent()
    eventually(lambda: bench.volumes.find(volume_id).quota_mb == 48, within_seconds=20, what="the record's new size")


def test_a_record_that_changed_meanwhile_is_not_put_back(bench: Bench) -> None:
    volume_id = bench.install("server", "true").volume_id
    bench.volumes.resized(volume_id, 32)
    bench.volumes.resized(volume_id, 48, was_mb=16)
    assert bench.volumes.find(volume_id).quota_mb == 32
    bench.volumes.resized(volume_id, 48, was_mb=32)
    assert bench.volumes.find(volume_id).quota_mb == 48


def test_a_plain_directory_that_a_container_fills_is_told_too(bench: Bench) -> None:
    """Nothing keeps the container from it; its watchers hear of it."""
    bench.install("hog", "dd if=/dev/zero of=big bs=1M count=20; read line; rm big; read line")
    bench.start_agent()
    bench.await_agent()
    bench.do("hog", Action.START)
    eventually(lambda: told_of_space(bench, "hog"), within_seconds=20, what="the message")
    assert told_of_space(bench, "hog")[0].startswith("The volume is running out of space")
    assert bench.send("hog", "go on\n") is None
    eventually(lambda: len(told_of_space(bench, "hog")) == 2, within_seconds=20, what="the second message")
    assert told_of_space(bench, "hog")[1].startswith("The volume has room again")


def test_a_container_that_goes_on_beyond_a_plain_directorys_size_is_ended(bench: Bench) -> None:
    bench.install("hog", "n=0; while true; do dd if=/dev/zero of=big$n bs=1M count=20; n=$((n+1)); sleep 0.5; done")
    bench.start_agent()
    bench.await_agent()
    bench.do("hog", Action.START)
    assert bench.await_state("hog", State.READY, within_seconds=30).exit_code == 137
    assert any("beyond its size" in data for data in told_of_space(bench, "hog"))
    refused = bench.jobs.get(bench.do("hog", Action.START).job_id)
    assert refused.state == "failed" and "beyond its size" in str(refused.error)


def told_of_space(bench: Bench, name: str) -> list[str]:
    return [data for data in bench.feed(name) if data.startswith("The volume ")]


@pytest.mark.parametrize(
    ("size_mb", "left_mb", "was_full", "full"),
    [
        (1000, 51, False, False),
        (1000, 49, False, True),
        (1000, 99, True, True),
        (1000, 101, True, False),
        (100, 11, False, False),
        (100, 9, False, True),
        (100, 14, True, True),
        (100, 16, True, False),
        (12, 11, True, False),
    ],
)
def test_full_is_less_than_10_mb_or_5_percent_until_clearly_more_is_left(
    size_mb: int, left_mb: int, was_full: bool, full: bool
) -> None:
    usage = Usage(size_mb, (size_mb - left_mb) * MEBIBYTE, left_mb * MEBIBYTE)
    assert is_full(usage, was_full=was_full) is full
