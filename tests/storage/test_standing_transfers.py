"""Transfers that stand still or are cut short, and what becomes of other calls meanwhile."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.settings import Settings
from storage.volumes import volume_path
from tests.storage.conftest import VOLUME_ID, host_settings
from tests.storage.files_process import Answer, FilesProcess, running_files_process
from tests.storage.test_transfers import opened_by
from tests.support.deadline import eventually

BASE = f"/volumes/{VOLUME_ID}"
MEBIBYTE = 1024 * 1024
SLOTS = 3
# Less than the 75 s for which a connection is kept for its next call.
PATIENCE_SECONDS = 40


@pytest.fixture(scope="module")
def files_process() -> Iterator[FilesProcess]:
    """A files process of four threads."""
    with host_settings() as settings, running_files_process(replace(settings, files_threads=4)) as process:
        yield process


@pytest.fixture
def volume(served_folder: Path) -> Path:
    """The folder of a volume that holds a file which no socket's buffer takes in, of holes."""
    with (served_folder / "large").open("wb") as file:
        file.truncate(40 * MEBIBYTE)
    return served_folder


def begun_download(files_process: FilesProcess, held: ExitStack) -> http.client.HTTPResponse:
    """A download whose client has seen its head only."""
    connection = held.enter_context(closing(files_process.connection()))
    target = BASE + "/download?path=large"
    connection.timeout = PATIENCE_SECONDS
    connection.request("GET", target, headers={"Authorization": files_process.signature("GET", target)})
    answer = connection.getresponse()
    assert answer.status == 200
    return held.enter_context(answer)


def drafts(files_process: FilesProcess, volume: Path) -> int:
    """How many files are being written that have no name yet."""
    return sum(str(volume) in path and "deleted" in path for path in opened_by(files_process))


def begun_upload(files_process: FilesProcess, volume: Path, held: ExitStack) -> None:
    """An upload whose client has sent its beginning only, once the files process has it under way."""
    before = drafts(files_process, volume)
    connection = held.enter_context(closing(files_process.connection()))
    target = BASE + "/upload?path=never"
    connection.putrequest("PUT", target)
    connection.putheader("Authorization", files_process.signature("PUT", target))
    connection.putheader("Content-Length", "1000000")
    connection.endheaders(b"begun")
    eventually(lambda: drafts(files_process, volume) == before + 1, within_seconds=30, what="the beginning")


def transfers(files_process: FilesProcess) -> list[Answer]:
    """One more download, and one more upload."""
    return [
        files_process.call("GET", BASE + "/download?path=large", headers={"Range": "bytes=0-9"}),
        files_process.call("PUT", BASE + "/upload?path=small", raw=b"x"),
    ]


def test_transfers_leave_a_quarter_of_the_threads_to_other_calls(files_process: FilesProcess, volume: Path) -> None:
    with ExitStack() as held:
        for _ in range(SLOTS - 1):
            begun_download(files_process, held)
        begun_upload(files_process, volume, held)
        for refused in transfers(files_process):
            assert (refused.status, refused.json["code"]) == (503, "transfers_busy")
            assert "LIGHTD_FILES_THREADS" in refused.json["error"] and int(refused.headers["Retry-After"]) > 0
        assert files_process.call("POST", BASE + "/files", {"path": "a", "content": "x"}).status == 200
        assert files_process.call("GET", BASE + "/files").status == 200

    def all_free() -> bool:
        return all(answer.status in (200, 206) for answer in transfers(files_process))

    eventually(all_free, within_seconds=30, what="the slots of clients that have gone")


def test_one_volume_gets_a_third_of_the_transfers(settings: Settings) -> None:
    other = VOLUME_ID.replace("1111", "2222")
    with running_files_process(replace(settings, files_threads=16)) as process, ExitStack() as held:
        for volume_id in (VOLUME_ID, other):
            process.call("POST", f"/volumes/{volume_id}", {"size_mb": 64})
            with (volume_path(settings, volume_id) / "large").open("wb") as file:
                file.truncate(40 * MEBIBYTE)
        for _ in range(4):
            begun_download(process, held)
        for refused in transfers(process):
            assert (refused.status, refused.json["code"]) == (503, "transfers_busy")
            assert "This volume" in refused.json["error"]
        part = process.call("GET", f"/volumes/{other}/download?path=large", headers={"Range": "bytes=0-9"})
        assert part.status == 206


def test_who_is_refused_a_slot_holds_no_thread_with_his_body(files_process: FilesProcess, volume: Path) -> None:
    with ExitStack() as held:
        for _ in range(SLOTS):
            begun_download(files_process, held)
        connection = held.enter_context(closing(files_process.connection()))
        target = BASE + "/upload?path=never"
        connection.putrequest("PUT", target)
        connection.putheader("Authorization", files_process.signature("PUT", target))
        connection.putheader("Content-Length", str(1024 * MEBIBYTE))
        connection.endheaders()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(64):
                connection.send(bytes(MEBIBYTE))
        assert connection.getresponse().status == 503


@pytest.mark.long
def test_transfers_of_which_nothing_moves_are_ended(files_process: FilesProcess, volume: Path) -> None:
    with ExitStack() as held:
        answer = begun_download(files_process, held)
        begun_upload(files_process, volume, held)
        begun_upload(files_process, volume, held)

        def all_free() -> bool:
            return all(answer.status in (200, 206) for answer in transfers(files_process))

        assert not all_free()
        eventually(all_free, within_seconds=300, what="the end of what stands still")
        with pytest.raises(http.client.IncompleteRead):
            answer.read()


def test_a_transfer_that_ends_in_any_way_gives_its_slot_back(files_process: FilesProcess, volume: Path) -> None:
    (volume / "folder").mkdir()
    for _ in range(SLOTS + 1):
        for target, status in (("large", 200), ("folder", 200), ("missing", 404), ("..", 400)):
            assert files_process.call("HEAD", f"{BASE}/download?path={target}").status == status
        beyond = {"Range": "bytes=99999999-"}
        assert files_process.call("GET", BASE + "/download?path=large", headers=beyond).status == 416
        assert files_process.call("GET", BASE + "/download?path=folder").status == 200
        assert files_process.call("PUT", BASE + "/upload?path=..", raw=b"x").status == 400
        assert files_process.call("PUT", BASE + "/upload?path=folder", raw=b"x").status == 409
    assert {answer.status for answer in transfers(files_process)} == {200, 206}


@pytest.mark.parametrize("left_bytes", [0, 100])
def test_a_download_of_a_file_that_is_cut_meanwhile_ends_at_once(
    files_process: FilesProcess, volume: Path, left_bytes: int
) -> None:
    with ExitStack() as held:
        answer = begun_download(files_process, held)
        os.truncate(volume / "large", left_bytes)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    assert len(files_process.call("GET", BASE + "/download?path=large").data) == left_bytes


def test_a_file_that_grows_meanwhile_is_sent_as_long_as_it_was(files_process: FilesProcess, volume: Path) -> None:
    with ExitStack() as held:
        answer = begun_download(files_process, held)
        with (volume / "large").open("ab") as file:
            file.write(b"more")
        assert len(answer.read()) == 40 * MEBIBYTE
