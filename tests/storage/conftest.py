"""A volume to work in, the volumes of a host, and a running files process."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet.settings import Settings
from storage.beneath import Root, opened_root
from storage.staging import empty_folder
from storage.volumes import Volumes, volume_path
from storage.volumes.mounts import unmount
from tests.storage.files_process import FilesProcess, running_files_process

OWNER = (1000, 1000)
VOLUME_ID = "d6764075-1111-4222-8333-444455556666"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of a volume, with a secret file beside it that nobody may reach."""
    (tmp_path / "secret.txt").write_text("secret")
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, *OWNER)
    yield volume
    # Trees here may be deeper than pytest's own cleaning bears.
    fd = os.open(volume, os.O_RDONLY)
    empty_folder(fd)
    os.close(fd)


@pytest.fixture
def root(folder: Path) -> Iterator[Root]:
    """The same volume, opened."""
    with opened_root(folder, OWNER) as opened:
        yield opened


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Settings of a host with an empty data folder; everything mounted below it is unmounted at the end."""
    with host_settings() as made:
        yield made


@contextmanager
def host_settings() -> Iterator[Settings]:
    """The same, for fixtures that live longer than a test."""
    data = Path(tempfile.mkdtemp(prefix="lightd-files-"))
    try:
        yield Settings(data=data, node="node-a", disk_floor_mb=64, volume_driver="loop")
    finally:
        for mounted in (data / "volumes").glob("*"):
            unmount(mounted, detach=True)
        shutil.rmtree(data)


@pytest.fixture
def volumes(settings: Settings) -> Volumes:
    """The volumes of that host."""
    return Volumes(settings)


@pytest.fixture
def loop_folder(settings: Settings, volumes: Volumes) -> Path:
    """A mounted 32 MB volume called VOLUME_ID."""
    volumes.create(VOLUME_ID, 32)
    return volume_path(settings, VOLUME_ID)


@pytest.fixture(scope="module")
def files_process() -> Iterator[FilesProcess]:
    """A files process of a host of its own, for all tests of a module."""
    with host_settings() as settings, running_files_process(settings) as process:
        yield process


@pytest.fixture
def served_folder(files_process: FilesProcess) -> Path:
    """The folder of an empty volume of 64 MB called VOLUME_ID that the files process serves."""
    assert files_process.call("DELETE", f"/volumes/{VOLUME_ID}").status == 204
    assert files_process.call("POST", f"/volumes/{VOLUME_ID}", {"size_mb": 64}).status == 201
    return volume_path(files_process.settings, VOLUME_ID)
