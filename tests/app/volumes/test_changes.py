"""Reading, renaming, deleting, searching and permissions, and the size of a volume."""

from __future__ import annotations

from typing import Any

import pytest

from app.services import Services
from app.volumes import lifecycle
from fleet.lifecycle import InstallState, State
from fleet.models import Container, Limits, Spec
from fleet.repositories.jobs import new_job
from fleet.settings import Settings
from storage.volumes import Volumes
from storage.volumes.layout import lock_path
from storage.volumes.locks import locked
from tests.app.conftest import NODE, Api
from tests.app.volumes.conftest import Files
from tests.support.deadline import eventually
from worker.agent.upkeep import Upkeep
from worker.known_store import KnownStore

TRAVERSAL = "Invalid path: path traversal detected"
ESCAPES = ["../x", "/etc/passwd", "a/../../x", "C:\\x", "a\\..\\b", "%2e%2e/x", "", "a\0b"]


def test_a_text_file_is_read(files: Files) -> None:
    (files.folder / "a.txt").write_text("grün\n")
    assert files.get("files/content", path="a.txt").json == {"path": "a.txt", "content": "grün\n"}


def test_what_is_no_text_is_a_conflict(files: Files) -> None:
    (files.folder / "a.bin").write_bytes(b"\xff\0")
    answer = files.get("files/content", path="a.bin")
    assert (answer.status_code, answer.json["code"]) == (409, "binary")


def test_a_file_whose_name_is_not_utf8_is_read(files: Files) -> None:
    (files.folder / "\udcff").write_text("odd")
    answer = files.api.get(f"{files.url}/files/content?path=%FF")
    assert answer.json["content"] == "odd"


def test_a_file_is_renamed_into_folders_that_are_made(files: Files) -> None:
    (files.folder / "a").write_text("x")
    answer = files.post("rename", {"from": "a", "to": "new/b"})
    assert answer.json == {"message": "Renamed successfully", "from": "a", "to": "new/b"}
    assert (files.folder / "new/b").read_text() == "x"


def test_an_existing_name_is_not_renamed_over(files: Files) -> None:
    (files.folder / "a").write_text("x")
    (files.folder / "b").write_text("y")
    assert files.post("rename", {"from": "a", "to": "b"}).status_code == 409
    assert files.post("rename", {"from": "gone", "to": "c"}).status_code == 404


def test_several_paths_are_deleted_or_none(files: Files) -> None:
    (files.folder / "d/e").mkdir(parents=True)
    (files.folder / "f").write_text("x")
    assert files.post("delete", {"paths": ["f", "missing"]}).status_code == 404
    assert (files.folder / "f").exists()
    assert files.post("delete", {"paths": ["f", "d"]}).json["deleted_count"] == 2
    assert list(files.folder.iterdir()) == []


def test_permissions_are_set(files: Files) -> None:
    (files.folder / "run.sh").write_text("")
    answer = files.post("chmod", {"path": "run.sh", "mode": "750"})
    assert answer.json["mode"] == "750"
    assert (files.folder / "run.sh").stat().st_mode & 0o7777 == 0o750


@pytest.mark.parametrize("mode", ["4755", "9", "", "u+x", "64", 644, None, "644\n"])
def test_strange_permissions_are_refused(files: Files, mode: object) -> None:
    answer = files.post("chmod", {"path": "run.sh", "mode": mode})
    assert answer.status_code == 400
    assert list(answer.json["fields"]) == ["mode"]


def test_files_are_found_by_pattern(files: Files) -> None:
    (files.folder / "logs/old").mkdir(parents=True)
    for name in ("logs/a.log", "logs/old/b.log", "logs/c.txt"):
        (files.folder / name).write_text("1")
    found = files.get("search", pattern="*.log", path="logs").json
    assert sorted(hit["path"] for hit in found["files"]) == ["logs/a.log", "logs/old/b.log"]
    assert found["truncated"] is False
    assert files.get("search", pattern="*.log", limit=1).json["truncated"] is True


@pytest.mark.parametrize("query", [{}, {"pattern": ""}, {"pattern": "x" * 256}, {"pattern": "x", "limit": 0}])
def test_a_search_needs_a_pattern_and_a_sane_limit(files: Files, query: dict[str, Any]) -> None:
    assert files.get("search", **query).status_code == 400


@pytest.mark.parametrize("path", ESCAPES)
def test_no_path_leaves_the_volume(files: Files, path: str) -> None:
    bodies = [
        ("rename", {"from": path, "to": "b"}),
        ("rename", {"from": "a", "to": path}),
        ("delete", {"paths": ["a", path]}),
        ("chmod", {"path": path, "mode": "644"}),
    ]
    for call, body in bodies:
        answer = files.post(call, body)
        assert (answer.status_code, answer.json["error"]) == (400, TRAVERSAL), (call, body)
    assert files.get("files/content", path=path).json["error"] == TRAVERSAL
    if path:
        assert files.get("search", pattern="*", path=path).json["error"] == TRAVERSAL


def occupy(offered: Services, volume_id: str, state: State) -> None:
    """Put a container on a volume, in the record only."""
    job = new_job("install", NODE, "long", internal_id="c1")
    spec = Spec("image", "command", Limits(1 << 29, 1.0, 100))
    container = Container("c1", NODE, volume_id, spec, (), state, InstallState.READY, "e1", job.job_id, 1, 1)
    offered.containers.create(container, (), job)


def test_a_volume_grows_and_shrinks_and_its_record_follows(files: Files) -> None:
    for size in (64, 16):
        answer = files.post("resize", {"size": size})
        assert (answer.status_code, answer.text) == (200, files.get("quota").text)
        assert answer.json["size_mb"] == size
        assert files.api.get(files.url).json["quota_mb"] == size


def test_a_volume_is_not_made_smaller_than_its_content(files: Files) -> None:
    (files.folder / "big").write_bytes(b"x" * 20 * 1024**2)
    assert files.post("resize", {"size": 16}).status_code == 409
    assert files.api.get(files.url).json["quota_mb"] == 32


def test_a_volume_whose_container_runs_grows_but_does_not_shrink(files: Files, offered: Services) -> None:
    occupy(offered, files.volume_id, State.RUNNING)
    answer = files.post("resize", {"size": 16})
    assert (answer.status_code, answer.json["code"]) == (409, "volume_in_use")
    assert "c1 is running" in answer.json["error"]
    assert files.post("resize", {"size": 40}).status_code == 200
    container = offered.containers.get("c1")
    offered.containers.remove("c1", offered.jobs.claim(container.job_id or "", "w"))


def test_a_resize_that_took_too_long_is_in_the_record_soon(
    files: Files, offered: Services, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Volumes(settings)
    monkeypatch.setattr(lifecycle, "_RESIZE_SECONDS", 0.1)
    with locked(lock_path(settings, files.volume_id)):  # the host is busy with the volume
        answer = files.post("resize", {"size": 40})
    assert (answer.status_code, answer.json["code"]) == (504, "node_timeout")
    eventually(lambda: host.get(files.volume_id).size_mb == 40, within_seconds=15, what="the host's own end of it")
    assert files.api.get(files.url).json["quota_mb"] == 32
    Upkeep(NODE, offered.volumes, host, KnownStore(offered.nodes, settings.data)).look()
    assert files.api.get(files.url).json["quota_mb"] == 40


@pytest.mark.parametrize("size", [0, 15, -1, "64", 2**40, None, True])
def test_a_strange_size_is_refused(files: Files, size: object) -> None:
    answer = files.post("resize", {"size": size})
    assert (answer.status_code, list(answer.json["fields"])) == (400, ["size"])


@pytest.mark.parametrize("call", ["rename", "delete", "chmod", "resize"])
def test_an_unknown_volume_is_told(api: Api, call: str) -> None:
    bodies = {
        "rename": {"from": "a", "to": "b"},
        "delete": {"paths": ["a"]},
        "chmod": {"path": "a", "mode": "644"},
        "resize": {"size": 64},
    }
    answer = api.post(f"/volumes/d6764075/{call}", bodies[call])
    assert (answer.status_code, answer.json["error"]) == (404, "Volume not found")
