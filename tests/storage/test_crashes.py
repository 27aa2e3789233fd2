"""SIGKILL in the middle of making, resizing and deleting a volume, at every step: the next start puts things right."""

from __future__ import annotations

import fcntl
import itertools
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import Conflict, NotFound
from fleet.settings import Settings
from storage.draft import draft_name
from storage.staging import sweep_staging
from storage.volumes import Volumes, volume_path
from storage.volumes.choose import chosen_driver_name
from storage.volumes.layout import image_path, lock_path
from storage.volumes.locks import locked
from storage.volumes.mounts import mount_image, unmount, wait_until_dead
from storage.writing import write_file
from tests.storage.conftest import VOLUME_ID
from tests.storage.killed import killed_at
from tests.storage.test_volumes import loop_devices_of, nothing_is_left, retried_while_others_start
from tests.support.deadline import eventually

MEBIBYTE = 1024 * 1024
CONTENT = b"kept" * 250_000


@pytest.mark.parametrize("driver", ["loop", "directory"])
def test_a_crash_at_any_step_of_making_a_volume_leaves_nothing(settings: Settings, driver: str) -> None:
    host = replace(settings, volume_driver=driver)
    for step in itertools.count():
        killed = killed_at(step, lambda: Volumes(host).create(VOLUME_ID, 16))
        Volumes(host).restore_all()
        if not killed:
            break
        if not Volumes(host).all():
            assert everything_is_gone(host), f"killed before step {step}"
        Volumes(host).delete(VOLUME_ID)
        assert everything_is_gone(host), f"killed before step {step}"
    assert step >= 4
    assert Volumes(host).get(VOLUME_ID).size_mb == 16


@pytest.mark.parametrize("driver", ["loop", "directory"])
def test_a_crash_at_any_step_of_deleting_a_volume_leaves_it_whole_or_gone(settings: Settings, driver: str) -> None:
    host = replace(settings, volume_driver=driver)
    left_whole = 0
    for step in itertools.count():
        Volumes(host).create(VOLUME_ID, 16)
        file = volume_path(host, VOLUME_ID) / "folder/kept"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(CONTENT)
        killed = killed_at(step, lambda: Volumes(host).delete(VOLUME_ID))
        Volumes(host).restore_all()
        if Volumes(host).all():
            left_whole += 1
            assert file.read_bytes() == CONTENT
        else:
            assert everything_is_gone(host), f"killed before step {step}"
        if not killed:
            break
    assert step - left_whole >= 4, "most steps come after the point of no return"


@pytest.mark.parametrize(("from_mb", "to_mb"), [(24, 48), (48, 24)], ids=["growing", "shrinking"])
def test_a_crash_at_any_step_of_resizing_keeps_the_content_and_one_true_size(
    settings: Settings, from_mb: int, to_mb: int
) -> None:
    """The size written down, the image and the file system in it agree again, whichever of the two sizes it is."""
    sizes = set()
    for step in itertools.count():
        Volumes(settings).create(VOLUME_ID, from_mb)
        (volume_path(settings, VOLUME_ID) / "kept").write_bytes(CONTENT)
        killed = killed_at(step, lambda: retried_while_others_start(lambda: Volumes(settings).resize(VOLUME_ID, to_mb)))
        Volumes(settings).restore_all()
        sizes.add(agreed_size_mb(settings))
        Volumes(settings).delete(VOLUME_ID)
        assert everything_is_gone(settings), f"killed before step {step}"
        if not killed:
            break
    assert step >= 6
    assert sizes == {from_mb, to_mb}


def test_nobody_touches_an_image_while_a_command_of_a_killed_process_works_on_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Volumes(settings).create(VOLUME_ID, 32)
    assert unmount(volume_path(settings, VOLUME_ID), detach=False)
    eventually(lambda: wait_until_dead(image_path(settings, VOLUME_ID)), within_seconds=60, what="the end of the mount")
    os.mkfifo(tmp_path / "go")
    slow = tmp_path / "e2fsck"
    slow.write_text(f'#!/bin/sh\ntouch {tmp_path}/begun\nread line < {tmp_path}/go\nexec /sbin/e2fsck "$@"\n')
    slow.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        child = os.fork()
        if child == 0:
            Volumes(settings).ensure_mounted(VOLUME_ID)
            os._exit(0)
    eventually((tmp_path / "begun").exists, within_seconds=10, what="the check of the image")
    os.kill(child, 9)
    os.waitpid(child, 0)
    with pytest.raises(Conflict), locked(lock_path(settings, VOLUME_ID), timeout_seconds=0):
        pass
    (tmp_path / "go").write_text("now\n")
    assert os.path.ismount(Volumes(settings).ensure_mounted(VOLUME_ID))


def test_a_trial_mount_that_a_crash_left_is_removed_at_the_next_start(settings: Settings) -> None:
    host = replace(settings, volume_driver="auto")
    left = settings.run_folder / "probe-left"
    (left / "mount").mkdir(parents=True)
    Volumes(settings).create(VOLUME_ID, 16)
    mount_image(image_path(settings, VOLUME_ID), left / "mount")
    Volumes(settings).delete(VOLUME_ID)
    Volumes(host).restore_all()
    assert not left.exists()
    assert everything_is_gone(host)
    assert chosen_driver_name(host) == "loop"


@pytest.mark.parametrize("named_drafts", [False, True], ids=["unnamed files", "no unnamed files"])
def test_a_crash_at_any_step_of_writing_a_file_leaves_the_old_or_the_new_one_and_no_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, named_drafts: bool
) -> None:
    Volumes(settings).create(VOLUME_ID, 16)
    folder = volume_path(settings, VOLUME_ID)
    if named_drafts:  # as on a file system without them
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_RDWR)

    def overwrite() -> None:
        with Volumes(settings).opened(VOLUME_ID) as root:
            write_file(root, b"a/deep/file", b"new")

    left_hidden = 0
    for step in itertools.count():
        (folder / "a/deep").mkdir(parents=True, exist_ok=True)
        (folder / "a/deep/file").write_bytes(b"old")
        killed = killed_at(step, overwrite)
        left_hidden += len([path for path in folder.rglob("*") if path.name.startswith(".lightd-")])
        Volumes(settings).restore_all()
        Volumes(settings).sweep_all()
        assert [path.name for path in folder.rglob("*")] == ["a", "deep", "file"]
        assert (folder / "a/deep/file").read_bytes() == (b"old" if killed else b"new")
        if not killed:
            break
    assert left_hidden == 1, "killed right before the rename"


def test_a_file_that_a_living_process_is_about_to_rename_is_not_swept(settings: Settings) -> None:
    Volumes(settings).create(VOLUME_ID, 16)
    folder = volume_path(settings, VOLUME_ID)
    with Volumes(settings).opened(VOLUME_ID) as root, (folder / draft_name().decode()).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert sweep_staging(root) == 0
        fcntl.flock(held, fcntl.LOCK_UN)
        assert sweep_staging(root) == 1
    assert os.listdir(folder) == []


def everything_is_gone(host: Settings) -> bool:
    """No file, mount, loop device or lock, and the volume is unknown."""
    with pytest.raises(NotFound):
        Volumes(host).get(VOLUME_ID)
    return nothing_is_left(host) and not list((host.run_folder / "locks").glob("volume-*"))


def agreed_size_mb(settings: Settings) -> int:
    """The volume's size in MB, of which everybody says the same; its content is there and its file system is sound."""
    size_mb = Volumes(settings).get(VOLUME_ID).size_mb
    folder, image = volume_path(settings, VOLUME_ID), image_path(settings, VOLUME_ID)
    assert (folder / "kept").read_bytes() == CONTENT
    assert [path.name for path in image.parent.iterdir()] == [image.name]
    assert len(loop_devices_of(settings)) == 1
    assert unmount(folder, detach=True)
    eventually(lambda: wait_until_dead(image), within_seconds=60, what="other containers to have started")
    described = subprocess.check_output(["dumpe2fs", "-h", image], text=True, stderr=subprocess.DEVNULL)
    blocks = next(int(line.split()[-1]) for line in described.splitlines() if line.startswith("Block count:"))
    assert image.stat().st_size == blocks * 4096 == size_mb * MEBIBYTE
    subprocess.run(["e2fsck", "-f", "-n", image], check=True, capture_output=True)
    return size_mb
