"""Clients of one volume, however many calls they make, keep nobody from another volume of its host."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask

from app.volumes import turns
from app.volumes.turns import Turns
from fleet.errors import TooMany
from fleet.models import Node
from fleet.settings import Settings
from tests.app.conftest import NODE, Api
from tests.app.volumes.conftest import Files
from tests.storage.files_process import FilesProcess, running_files_process
from tests.support.deadline import eventually

THREADS = 12
CALLS = 2 * THREADS


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `go` lets a count of a volume's content, which all its calls need, come to its end."""
    return tmp_path_factory.mktemp("counting")


@pytest.fixture(scope="module")
def files_process(store_url: str, counting: Path) -> Iterator[FilesProcess]:
    """A files process of few threads on a host that counts slowly where a volume holds a file called `slow`."""
    data = Path(tempfile.mkdtemp(prefix="lightd-app-"))
    slow = counting / "du"
    slow.write_text(f"""#!/bin/sh
for last; do :; done
[ ! -e "$last/slow" ] || touch {counting}/counts-$$
[ ! -e "$last/slow" ] || while [ ! -e {counting}/go ]; do sleep 0.05; done
exec {shutil.which("du")} "$@"
""")
    slow.chmod(0o755)
    settings = Settings(
        data=data, redis_url=store_url, node=NODE, disk_floor_mb=16, volume_driver="directory", files_threads=THREADS
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", f"{counting}:{os.environ['PATH']}")
        try:
            with running_files_process(settings) as process:
                yield process
        finally:
            shutil.rmtree(data)


def test_many_long_calls_for_one_volume_hold_up_no_other_one(
    files: Files, api: Api, application: Flask, node: Node, counting: Path
) -> None:
    other = Files(api, api.post("/volumes").json)
    (files.folder / "slow").touch()

    def ask() -> int:
        return Api(application.test_client(), api.token).get(f"{files.url}/quota").status_code

    with ThreadPoolExecutor(CALLS) as pool:
        asked = [pool.submit(ask) for _ in range(CALLS)]
        try:
            eventually(
                lambda: len(list(counting.glob("counts-*"))) >= turns._AT_ONCE, within_seconds=30, what="the counts"
            )
            for _ in range(20):
                assert other.post("files", {"path": "a", "content": "x"}).status_code == 200
            assert other.get("files").json["files"] == [{"name": "a", "type": "file", "size": 1}]
        finally:
            (counting / "go").touch()
        assert {answer.result() for answer in asked} == {200}
    api.delete(other.url)


def test_a_call_that_gets_no_turn_is_told_so_and_nobody_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_AT_ONCE", 1)
    monkeypatch.setattr(turns, "_MOST_WAITING", 1)
    monkeypatch.setattr(turns, "_PATIENCE_SECONDS", 60)
    line, first, go = Turns(), threading.Event(), threading.Event()

    def hold() -> None:
        with line.taken("a"):
            first.set()
            assert go.wait(60)

    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(hold)]
        assert first.wait(30)
        held.append(pool.submit(hold))
        eventually(lambda: is_refused(line, "a"), within_seconds=30, what="a full line")
        assert not is_refused(line, "b")
        go.set()
        for holder in held:
            holder.result()
    monkeypatch.setattr(turns, "_PATIENCE_SECONDS", 0.01)
    with line.taken("a"):
        assert is_refused(line, "a"), "one may wait, but not for long"
    assert not is_refused(line, "a")
    assert line._lines == {}


def is_refused(line: Turns, volume_id: str) -> bool:
    try:
        with line.taken(volume_id):
            return False
    except TooMany as error:
        assert error.code == "volume_calls"
        return True
