"""A host on which nothing can be mounted, as inside an unprivileged container: volumes are plain directories there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from fleet.errors import QuotaExceeded
from fleet.settings import Settings
from storage.archives import ArchiveFormat, compress, decompress
from storage.copying import copy
from storage.draft import drafted
from storage.folders import make_folder
from storage.volumes import Volumes, directory, volume_path
from storage.writing import write_file
from tests.storage.conftest import VOLUME_ID, host_settings
from tests.storage.files_process import FilesProcess, running_files_process

BASE = f"/volumes/{VOLUME_ID}"
MEBIBYTE = 1024 * 1024
WITHOUT_MOUNTING = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")


@pytest.fixture(scope="module")
def files() -> Iterator[FilesProcess]:
    """A files process that chooses its driver itself, and to which the kernel denies every mount."""
    with (
        host_settings() as settings,
        running_files_process(replace(settings, volume_driver="auto"), through=WITHOUT_MOUNTING) as process,
    ):
        yield process


def test_a_volume_is_a_directory_and_says_so(files: FilesProcess) -> None:
    made = files.call("POST", BASE, {"size_mb": 16})
    assert (made.status, made.json["quota_driver"]) == (201, "directory")
    assert not os.path.ismount(volume_path(files.settings, VOLUME_ID))


def test_its_size_is_checked_for_what_is_written_through_us(files: FilesProcess) -> None:
    files.call("POST", BASE, {"size_mb": 16})
    assert files.call("PUT", f"{BASE}/upload?path=fits", raw=bytes(10 * MEBIBYTE)).status == 200
    refused = files.call("PUT", f"{BASE}/upload?path=too-much", raw=bytes(10 * MEBIBYTE))
    assert (refused.status, refused.json["code"]) == (413, "quota_exceeded")
    assert os.listdir(volume_path(files.settings, VOLUME_ID)) == ["fits"]
    grown = files.call("POST", f"{BASE}/resize", {"size_mb": 32})
    assert (grown.status, grown.json["size_mb"]) == (200, 32)
    assert files.call("PUT", f"{BASE}/upload?path=fits-now", raw=bytes(10 * MEBIBYTE)).status == 200
    assert files.call("POST", f"{BASE}/resize", {"size_mb": 16}).status == 409


def test_folders_and_small_files_count_too(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes a block of the disk, and an archive or a copy makes thousands."""
    monkeypatch.setattr(directory, "_COUNT_VALID_SECONDS", -1.0)  # every look is a new count
    volumes = Volumes(replace(settings, volume_driver="directory"))
    volumes.create(VOLUME_ID, 16)
    folder = volume_path(settings, VOLUME_ID)
    with volumes.opened(VOLUME_ID) as root:
        for number in range(300):
            make_folder(root, b"/".join([b"all/%d" % number, *[b"d"] * 7]))
            write_file(root, b"all/%d/file" % number, b"")
            (folder / f"all/{number}/link").symlink_to("file")
        for archive_format in (ArchiveFormat.TAR_GZ, ArchiveFormat.ZIP):
            compress(root, archive_format, archive_format.encode(), [])
    for call in (
        lambda root: copy(root, b"all", b"copied"),
        lambda root: decompress(root, b"tar.gz", b"unpacked"),
        lambda root: decompress(root, b"zip", b"unpacked"),
    ):
        with pytest.raises(QuotaExceeded), volumes.opened(VOLUME_ID) as root:
            call(root)


def test_what_is_still_being_written_counts_too(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "_COUNT_VALID_SECONDS", -1.0)  # every look is a new count
    volumes = Volumes(replace(settings, volume_driver="directory"))
    volumes.create(VOLUME_ID, 16)
    with volumes.opened(VOLUME_ID) as root, drafted(root, root.fd) as draft:
        draft.write(bytes(12 * MEBIBYTE))
        with pytest.raises(QuotaExceeded), volumes.opened(VOLUME_ID) as other:
            write_file(other, b"second", bytes(12 * MEBIBYTE))
    with volumes.opened(VOLUME_ID) as root:
        write_file(root, b"second", bytes(12 * MEBIBYTE))
