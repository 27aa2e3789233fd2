"""Which quota driver a host chooses, and when it chooses anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import Unavailable
from fleet.settings import Settings
from storage.volumes import Volumes
from storage.volumes.choose import chosen_driver_name
from tests.storage.test_volumes import OTHER_ID, nothing_is_left


def test_auto_takes_loop_mounts_where_they_work(settings: Settings) -> None:
    assert chosen_driver_name(replace(settings, volume_driver="auto")) == "loop"
    assert chosen_driver_name(replace(settings, volume_driver="directory")) == "directory"
    assert nothing_is_left(settings)


@pytest.fixture
def failing_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A host whose `mount` fails until the patch is undone."""
    (tmp_path / "mount").write_text('#!/bin/sh\necho "mount: $6: failed to setup loop device for $5." >&2\nexit 32\n')
    (tmp_path / "mount").chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        yield patched


def test_auto_tries_again_after_a_mount_that_failed(settings: Settings, failing_mount: pytest.MonkeyPatch) -> None:
    host = replace(settings, volume_driver="auto")
    assert chosen_driver_name(host) == "directory"
    failing_mount.undo()
    assert chosen_driver_name(host) == "loop"


def test_a_host_that_has_images_stays_with_them_and_names_volumes_only(
    settings: Settings, volumes: Volumes, loop_folder: Path, failing_mount: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unavailable, match=f"failed to setup loop device for volume {OTHER_ID}") as refused:
        Volumes(replace(settings, volume_driver="auto")).create(OTHER_ID, 16)
    assert str(settings.data) not in refused.value.message
    failing_mount.undo()
    assert Volumes(replace(settings, volume_driver="auto")).create(OTHER_ID, 16).driver == "loop"
