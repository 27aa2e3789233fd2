"""Volumes on a real disk with real loop mounts."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import Conflict, Invalid, NotFound, QuotaExceeded, Unavailable
from fleet.settings import Settings
from storage.copying import copy
from storage.volumes import Usage, Volumes, volume_path
from storage.volumes.layout import image_path, lock_path, meta_path
from storage.volumes.loop import LoopDriver
from storage.volumes.meta import read_meta, write_meta
from storage.volumes.mounts import is_mounted, loop_device, may_resize_mounted, unmount, wait_until_dead
from storage.writing import write_file
from tests.storage.conftest import OWNER, VOLUME_ID
from tests.support.deadline import eventually

OTHER_ID = "0e1f2a3b-1111-4222-8333-444455556666"
MEBIBYTE = 1024 * 1024


def loop_devices_of(settings: Settings) -> list[str]:
    return [
        line
        for line in subprocess.check_output(["losetup", "-a"], text=True).splitlines()
        if str(settings.data) in line
    ]


def nothing_is_left(settings: Settings) -> bool:
    """Freeing a loop device happens a moment after the last use of it."""
    eventually(lambda: not loop_devices_of(settings), within_seconds=10, what="the end of its loop devices")
    files = [path for path in (settings.data / "volumes").rglob("*") if path.name not in (".images", ".meta")]
    return not files and str(settings.data) not in Path("/proc/mounts").read_text()


def test_a_volume_is_mounted_owned_by_the_container_and_empty(settings: Settings, loop_folder: Path) -> None:
    status = loop_folder.stat()
    assert (status.st_uid, status.st_gid) == OWNER
    assert os.listdir(loop_folder) == []
    options = next(
        line.split()[3] for line in Path("/proc/mounts").read_text().splitlines() if str(loop_folder) in line
    )
    assert {"nosuid", "nodev", "noatime"} <= set(options.split(","))


def test_a_volume_that_is_asked_for_too_late_is_not_made(settings: Settings, volumes: Volumes) -> None:
    with pytest.raises(Unavailable, match="too late"):
        volumes.create(VOLUME_ID, 64, until=time.time() - 1)
    assert nothing_is_left(settings)
    assert not lock_path(settings, VOLUME_ID).exists()
    volumes.create(VOLUME_ID, 64, until=time.time() + 600)
    assert volumes.create(VOLUME_ID, 64, until=time.time() - 1).ready, "it is there"


def test_creating_and_deleting_can_be_repeated(settings: Settings, volumes: Volumes) -> None:
    first = volumes.create(VOLUME_ID, 32)
    (volume_path(settings, VOLUME_ID) / "kept").write_text("x")
    assert volumes.create(VOLUME_ID, 32) == first
    assert (volume_path(settings, VOLUME_ID) / "kept").exists()
    volumes.delete(VOLUME_ID)
    volumes.delete(VOLUME_ID)
    assert nothing_is_left(settings)
    assert not lock_path(settings, VOLUME_ID).exists()


def test_creating_the_same_volume_many_times_at_once_makes_one(settings: Settings) -> None:
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: Volumes(settings).create(VOLUME_ID, 32), range(6)))
    assert len(set(made)) == 1
    assert len(loop_devices_of(settings)) == 1


def test_the_kernel_keeps_the_size(volumes: Volumes, loop_folder: Path) -> None:
    with volumes.opened(VOLUME_ID) as root:
        write_file(root, b"a", b"old")
        with pytest.raises(QuotaExceeded):
            write_file(root, b"a", b"x" * (40 * MEBIBYTE))
        write_file(root, b"half", b"x" * (14 * MEBIBYTE))
        with pytest.raises(QuotaExceeded):
            copy(root, b"half", b"other")
    assert (loop_folder / "a").read_bytes() == b"old"
    assert sorted(os.listdir(loop_folder)) == ["a", "half"]
    with pytest.raises(OSError) as caught:
        (loop_folder / "container").write_bytes(b"x" * (40 * MEBIBYTE))
    assert caught.value.errno == errno.ENOSPC


def test_usage_tells_how_full_a_volume_is(volumes: Volumes, loop_folder: Path) -> None:
    empty = volumes.usage(VOLUME_ID)
    assert empty.size_mb == 32 and empty.used_mb < 1 and empty.percentage_used < 5
    (loop_folder / "a").write_bytes(b"x" * (10 * MEBIBYTE))
    full = volumes.usage(VOLUME_ID)
    assert 10 <= full.used_mb < 11
    assert full.available_mb == pytest.approx(empty.available_mb - 10, abs=0.5)


def test_a_fully_allocated_image_stays_so(settings: Settings, volumes: Volumes, loop_folder: Path) -> None:
    image = image_path(settings, VOLUME_ID)
    assert image.stat().st_blocks * 512 >= 32 * MEBIBYTE
    (loop_folder / "a").write_bytes(b"x" * (10 * MEBIBYTE))
    (loop_folder / "a").unlink()
    retried_while_others_start(lambda: volumes.resize(VOLUME_ID, 64))
    os.sync()
    assert image.stat().st_blocks * 512 >= 64 * MEBIBYTE


def test_a_sparse_image_takes_little(settings: Settings) -> None:
    Volumes(replace(settings, volume_allocation="sparse")).create(VOLUME_ID, 10 * 1024)
    os.sync()
    assert image_path(settings, VOLUME_ID).stat().st_blocks * 512 < 25 * MEBIBYTE


def test_a_volume_grows_while_in_use_where_the_kernel_lets_us(volumes: Volumes, loop_folder: Path) -> None:
    with (loop_folder / "open").open("wb") as file:
        if may_resize_mounted():
            assert volumes.resize(VOLUME_ID, 96).size_mb == 96
        else:
            with pytest.raises(Conflict, match="CAP_SYS_RESOURCE") as refused:
                volumes.resize(VOLUME_ID, 96)
            print(f"Growing while mounted cannot be tried on this host: {refused.value}")
            assert volumes.usage(VOLUME_ID).size_mb == 32
        file.write(b"kept")
    assert retried_while_others_start(lambda: volumes.resize(VOLUME_ID, 96)).size_mb == 96
    assert volumes.get(VOLUME_ID).size_mb == 96
    assert (loop_folder / "open").read_bytes() == b"kept"
    (loop_folder / "large").write_bytes(b"x" * (60 * MEBIBYTE))


def test_a_volume_shrinks_only_when_unused_and_when_its_content_fits(volumes: Volumes, loop_folder: Path) -> None:
    retried_while_others_start(lambda: volumes.resize(VOLUME_ID, 96))
    with (loop_folder / "open").open("wb") as file:
        file.write(b"x" * (50 * MEBIBYTE))
        with pytest.raises(Conflict, match="in use"):
            volumes.resize(VOLUME_ID, 64)
    with pytest.raises(Conflict, match="does not fit"):
        retried_while_others_start(lambda: volumes.resize(VOLUME_ID, 32))
    assert (loop_folder / "open").stat().st_size == 50 * MEBIBYTE
    (loop_folder / "open").write_bytes(b"kept")
    assert retried_while_others_start(lambda: volumes.resize(VOLUME_ID, 32)).size_mb == 32
    assert (loop_folder / "open").read_bytes() == b"kept"
    assert os.listdir(loop_folder) == ["open"], "and no folder that the check of the file system made"


@contextmanager
def held_elsewhere() -> Iterator[None]:
    """A process with a copy of all mounts in a namespace of its own, as every container has while it starts."""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; read line"]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdin is not None
    try:
        assert holder.stdout.readline() == b"ready\n"
        yield
    finally:
        holder.communicate(b"\n")


@pytest.mark.parametrize("size_mb", [32, 96])
def test_a_volume_that_lives_on_in_another_namespace_is_not_touched(
    settings: Settings, volumes: Volumes, loop_folder: Path, size_mb: int
) -> None:
    retried_while_others_start(lambda: volumes.resize(VOLUME_ID, 64))
    content = os.urandom(20 * MEBIBYTE)
    (loop_folder / "kept").write_bytes(content)
    with held_elsewhere():
        if size_mb < 64 or not may_resize_mounted():
            with pytest.raises(Conflict, match="in use"):
                volumes.resize(VOLUME_ID, size_mb)
            assert volumes.get(VOLUME_ID).size_mb == 64
        assert unmount(loop_folder, detach=False)
        assert volumes.ensure_mounted(VOLUME_ID) == loop_folder
        assert (loop_folder / "kept").read_bytes() == content
        (loop_folder / "more").write_bytes(content)
    assert unmount(loop_folder, detach=False)
    image = image_path(settings, VOLUME_ID)
    eventually(lambda: wait_until_dead(image), within_seconds=60, what="other containers to have started")
    subprocess.run(["e2fsck", "-f", "-n", image], check=True, capture_output=True)
    assert (volumes.ensure_mounted(VOLUME_ID) / "more").read_bytes() == content


def retried_while_others_start(resize: Callable[[], Usage]) -> Usage:
    """Other tests' containers on this host may hold a copy of the mount for the moment in which they start."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return resize()
        except Conflict as error:
            if error.code != "volume_in_use" or time.monotonic() > deadline:
                raise


def test_a_volume_is_mounted_again_after_a_reboot(settings: Settings, loop_folder: Path) -> None:
    (loop_folder / "kept").write_text("x")
    assert unmount(loop_folder, detach=False)
    Volumes(settings).restore_all()
    assert (loop_folder / "kept").read_text() == "x"


def test_a_start_takes_nothing_apart(settings: Settings, loop_folder: Path) -> None:
    """A container can make millions of what looks like a killed process's leftover."""
    leftover = loop_folder / ".lightd-0123456789abcdef"
    leftover.mkdir()
    Volumes(settings).restore_all()
    assert leftover.exists()
    Volumes(settings).sweep_all()
    assert not leftover.exists()


def test_a_start_waits_for_no_volume_that_a_job_holds(
    settings: Settings, volumes: Volumes, loop_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volumes.create(OTHER_ID, 32)
    other = volume_path(settings, OTHER_ID)
    with volumes.opened_alone(OTHER_ID), volumes.opened_alone(VOLUME_ID):
        Volumes(settings).restore_all()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    assert unmount(other, detach=False)
    with volumes.opened_alone(VOLUME_ID):
        Volumes(settings).restore_all()
    assert is_mounted(other) and is_mounted(loop_folder)


def test_an_unmounted_volume_is_mounted_before_anything_is_written(
    settings: Settings, volumes: Volumes, loop_folder: Path
) -> None:
    assert unmount(loop_folder, detach=False)
    with volumes.opened(VOLUME_ID) as root:
        write_file(root, b"a", b"x")
    assert is_mounted(loop_folder)
    assert unmount(loop_folder, detach=False)
    assert os.listdir(loop_folder) == []


def test_a_volume_that_is_unmounted_while_it_is_opened_takes_no_file_beneath_its_mount(
    settings: Settings, volumes: Volumes, loop_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = LoopDriver.is_mounted

    def unmounted_right_after(driver: LoopDriver, volume_id: str) -> bool:
        answer = looked(driver, volume_id)
        assert unmount(loop_folder, detach=False)
        monkeypatch.undo()
        return answer

    monkeypatch.setattr(LoopDriver, "is_mounted", unmounted_right_after)
    with volumes.opened(VOLUME_ID) as root:
        write_file(root, b"a", b"kept")
    assert (loop_folder / "a").read_bytes() == b"kept"
    assert unmount(loop_folder, detach=False)
    assert os.listdir(loop_folder) == []


@pytest.mark.parametrize("step", ["described", "image", "formatted", "mounted"])
def test_a_crash_while_creating_leaves_nothing(settings: Settings, volumes: Volumes, step: str) -> None:
    meta = replace(volumes.create(VOLUME_ID, 32), ready=False)
    write_meta(settings, meta)
    folder, image = volume_path(settings, VOLUME_ID), image_path(settings, VOLUME_ID)
    if step != "mounted":
        unmount(folder, detach=False)
        folder.rmdir()
    if step == "image":
        image.write_bytes(b"")
    if step == "described":
        image.unlink()
    Volumes(settings).restore_all()
    assert nothing_is_left(settings)


@pytest.mark.parametrize("step", ["marked", "unmounted", "image gone"])
def test_a_crash_while_deleting_is_finished_at_the_next_start(settings: Settings, volumes: Volumes, step: str) -> None:
    write_meta(settings, replace(volumes.create(VOLUME_ID, 32), ready=False))
    if step != "marked":
        unmount(volume_path(settings, VOLUME_ID), detach=False)
    if step == "image gone":
        image_path(settings, VOLUME_ID).unlink()
    Volumes(settings).restore_all()
    assert nothing_is_left(settings)


def test_a_half_made_volume_is_unknown_and_can_be_made_again(settings: Settings, volumes: Volumes) -> None:
    write_meta(settings, replace(volumes.create(VOLUME_ID, 32), ready=False))
    with pytest.raises(NotFound):
        volumes.get(VOLUME_ID)
    assert volumes.create(VOLUME_ID, 16).size_mb == 16
    assert image_path(settings, VOLUME_ID).stat().st_size == 16 * MEBIBYTE


def test_a_volume_with_open_files_can_be_deleted(settings: Settings, volumes: Volumes, loop_folder: Path) -> None:
    with (loop_folder / "open").open("wb"):
        volumes.delete(VOLUME_ID)
        assert not is_mounted(loop_folder)
    assert nothing_is_left(settings)


def test_a_full_disk_is_refused_before_anything_is_made(settings: Settings) -> None:
    status = os.statvfs(settings.data)
    floor_mb = status.f_bavail * status.f_frsize // MEBIBYTE - 100
    for allocation, size_mb in (("full", 200), ("sparse", 200)):
        tight = replace(settings, disk_floor_mb=floor_mb if allocation == "full" else floor_mb + 90)
        with pytest.raises(Conflict, match="disk") as caught:
            Volumes(replace(tight, volume_allocation=allocation)).create(VOLUME_ID, size_mb)
        assert caught.value.code == "node_full"
    assert nothing_is_left(settings)


@pytest.mark.parametrize("size_mb", [0, -1, 15, 2**40])
def test_absurd_sizes_are_refused(volumes: Volumes, size_mb: int) -> None:
    with pytest.raises(Invalid):
        volumes.create(VOLUME_ID, size_mb)


@pytest.mark.parametrize("volume_id", ["", "..", "d6764075", "../../etc", VOLUME_ID.upper() + "X", "*"])
def test_only_a_uuid_names_a_volume(volumes: Volumes, volume_id: str) -> None:
    for call in (volumes.get, volumes.delete, volumes.ensure_mounted, lambda name: volumes.create(name, 32)):
        with pytest.raises(NotFound):
            call(volume_id)


def test_the_file_beside_a_volume_says_what_it_is(settings: Settings, volumes: Volumes, loop_folder: Path) -> None:
    meta = read_meta(settings, VOLUME_ID)
    assert meta is not None
    assert (meta.volume_id, meta.size_mb, meta.driver, meta.node, meta.ready) == (VOLUME_ID, 32, "loop", "node-a", True)
    assert abs(meta.created_at - time.time()) < 60
    assert meta_path(settings, VOLUME_ID).parent.name == ".meta"


@pytest.mark.parametrize("missing", ["image", "folder", "description"])
def test_what_a_volume_has_lost_is_told_by_its_name_and_logged_with_its_path(
    settings: Settings, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    host = replace(settings, volume_driver="directory" if missing == "folder" else "loop")
    Volumes(host).create(VOLUME_ID, 16)
    lost = {"image": image_path, "folder": volume_path, "description": meta_path}[missing](host, VOLUME_ID)
    unmount(volume_path(host, VOLUME_ID), detach=False)
    if missing == "description":
        lost.write_text("{")
    else:
        lost.rename(lost.with_name("elsewhere"))
    with pytest.raises(Unavailable, match=VOLUME_ID) as refused:
        Volumes(host).ensure_mounted(VOLUME_ID)
    assert "/" not in refused.value.message
    assert str(lost) in caplog.text


def test_loop_devices_belong_to_their_volumes(settings: Settings, volumes: Volumes, loop_folder: Path) -> None:
    volumes.create(OTHER_ID, 16)
    assert loop_device(loop_folder) != loop_device(volume_path(settings, OTHER_ID))


class TestAPlainDirectory:
    """Where loop mounts are impossible."""

    @pytest.fixture
    def volumes(self, settings: Settings) -> Volumes:
        return Volumes(replace(settings, volume_driver="directory"))

    def test_its_size_is_checked_by_the_api(self, settings: Settings, volumes: Volumes) -> None:
        assert volumes.create(VOLUME_ID, 16).driver == "directory"
        folder = volume_path(settings, VOLUME_ID)
        with volumes.opened(VOLUME_ID) as root:
            write_file(root, b"a", b"x" * (10 * MEBIBYTE))
            with pytest.raises(QuotaExceeded):
                write_file(root, b"b", b"x" * (10 * MEBIBYTE))
            with pytest.raises(QuotaExceeded):
                copy(root, b"a", b"c")
        assert os.listdir(folder) == ["a"]
        assert 10 <= volumes.usage(VOLUME_ID).used_mb < 10.1
        volumes.resize(VOLUME_ID, 64)
        (folder / "by a container").write_bytes(b"x" * (20 * MEBIBYTE))
        with pytest.raises(Conflict):
            volumes.resize(VOLUME_ID, 16)

    def test_it_is_deleted_with_everything_in_it(self, settings: Settings, volumes: Volumes) -> None:
        volumes.create(VOLUME_ID, 16)
        (volume_path(settings, VOLUME_ID) / "a/b/c").mkdir(parents=True)
        volumes.delete(VOLUME_ID)
        volumes.delete(VOLUME_ID)
        assert nothing_is_left(settings)
