"""Volumes and their files, through a real files process."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from app.services import Services
from fleet.models import Node, Volume
from fleet.settings import Settings
from tests.app.conftest import NODE, Api
from tests.storage.files_process import FilesProcess, running_files_process

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def files_process() -> Iterator[FilesProcess]:
    """A host's files process, with plain folders as volumes."""
    data = Path(tempfile.mkdtemp(prefix="lightd-app-"))
    try:
        with running_files_process(
            Settings(data=data, node=NODE, disk_floor_mb=16, volume_driver="directory")
        ) as process:
            yield process
    finally:
        shutil.rmtree(data)


@pytest.fixture
def settings(files_process: FilesProcess, store_url: str) -> Settings:
    """Settings of an API on the same host."""
    return replace(files_process.settings, redis_url=store_url, volume_size_mb=16)


@pytest.fixture
def volume_id(api: Api, node: Node) -> Iterator[str]:
    """A new volume."""
    made = api.post("/volumes").json["volume_id"]
    yield made
    api.delete(f"/volumes/{made}")


def record(offered: Services, volume_id: str, state: str = "ready") -> None:
    """Put a volume into the record without a disk."""
    now = int(time.time())
    offered.volumes.save(Volume(volume_id, NODE, "/x", 16, "directory", state, now, now))


def refusal(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.json["error"]


def test_a_volume_is_made_without_a_body(api: Api, node: Node, files_process: FilesProcess) -> None:
    answer = api.post("/volumes")
    assert answer.status_code == 201
    made = answer.json
    assert made["id"] == made["volume_id"]
    assert made["path"] == str(files_process.settings.data / "volumes" / made["id"])
    assert Path(made["path"]).is_dir()
    assert (made["quota_mb"], made["quota_driver"], made["node"]) == (16, "directory", NODE)
    assert abs(made["created_at"] - time.time()) < 10
    assert api.get(f"/volumes/{made['id']}").json == made
    assert api.delete(f"/volumes/{made['id']}").status_code == 204
    assert not Path(made["path"]).exists()


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain"])
def test_no_body_is_fine_whatever_type_it_claims(api: Api, node: Node, content_type: str | None) -> None:
    answer = api.post("/volumes", headers={"Content-Type": content_type} if content_type else {})
    assert answer.status_code == 201
    api.delete(f"/volumes/{answer.json['id']}")


def test_a_size_can_be_asked_for(api: Api, node: Node) -> None:
    made = api.post("/volumes", {"size": 20}).json
    assert made["quota_mb"] == 20
    assert api.get(f"/volumes/{made['id']}/quota").json["size_mb"] == 20
    api.delete(f"/volumes/{made['id']}")


@pytest.mark.parametrize("size", [0, 15, -1, "16", 16.0, True, 2**20 + 1, 2**40, 10**300, [], {}])
def test_a_strange_size_is_refused(api: Api, node: Node, size: object) -> None:
    answer = api.post("/volumes", {"size": size})
    assert answer.status_code == 400
    assert list(answer.json["fields"]) == ["size"]


def test_a_volume_can_be_put_on_a_named_host(api: Api, node: Node) -> None:
    made = api.post("/volumes", {"node": NODE})
    assert made.status_code == 201
    api.delete(f"/volumes/{made.json['id']}")


def test_without_a_host_no_volume_is_made(api: Api) -> None:
    status, sentence = refusal(api.post("/volumes"))
    assert status == 503
    assert "./lightd up" in sentence


def test_the_list_comes_in_pages_and_shows_only_what_is_ready(api: Api, offered: Services) -> None:
    names = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(5)]
    for name in names:
        record(offered, name)
    record(offered, UNKNOWN.replace("0000-4", "00ff-4"), "creating")
    first = api.get("/volumes?limit=3").json
    second = api.get(f"/volumes?limit=3&cursor={first['next_cursor']}").json
    assert [volume["id"] for volume in first["volumes"] + second["volumes"]] == names
    assert "next_cursor" not in second


def test_a_volume_is_named_by_its_first_eight_digits_in_any_case(api: Api, volume_id: str) -> None:
    for name in (volume_id[:8], volume_id[:8].upper(), volume_id[:13], volume_id, volume_id.replace("-", "")):
        assert api.get(f"/volumes/{name}").json["id"] == volume_id
    assert api.post(f"/volumes/{volume_id[:8]}/files", {"path": "a", "content": ""}).status_code == 200


def test_a_prefix_that_fits_two_volumes_is_a_conflict(api: Api, offered: Services) -> None:
    for number in (1, 2):
        record(offered, f"abcdef01-000{number}-4000-8000-000000000000")
    answer = api.get("/volumes/abcdef01")
    assert (answer.status_code, answer.json["code"]) == (409, "ambiguous_id")
    for name in ("abcdef01-0001", "abcdef010001", "abcdef01000140008000000000000000"):
        assert api.get(f"/volumes/{name}").json["id"] == "abcdef01-0001-4000-8000-000000000000"
    assert api.get("/volumes/abcdef01000140008000000000000000ffff").status_code == 404


@pytest.mark.parametrize("name", [UNKNOWN, "abcdef0", "xyz", "abcdef01*", "%2e%2e", "abcdef01%00"])
@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/files"),
        ("GET", "/quota"),
        ("POST", "/files"),
        ("POST", "/folders"),
        ("POST", "/copy"),
    ],
)
def test_an_unknown_volume_is_not_found(api: Api, name: str, method: str, call: str) -> None:
    bodies = {
        "/files": {"path": "a", "content": ""},
        "/folders": {"path": "a"},
        "/copy": {"source": "a", "destination": "b"},
    }
    answer = api.call(method, f"/volumes/{name}{call}", bodies.get(call) if method == "POST" else None)
    assert refusal(answer) == (404, "Volume not found")


def test_a_volume_that_a_container_uses_is_not_deleted(api: Api, offered: Services, volume_id: str) -> None:
    offered.stores.record.sadd(f"lightd:volume_users:{volume_id}", "game")
    answer = api.delete(f"/volumes/{volume_id}")
    assert (answer.status_code, answer.json["code"]) == (409, "volume_in_use")
    assert "game" in answer.json["error"]
    offered.stores.record.delete(f"lightd:volume_users:{volume_id}")


def test_a_file_is_written_and_listed(api: Api, volume_id: str) -> None:
    body = {"path": "plugins/config.yml", "content": "server-port: 25565\nname: Bücher\n"}
    answer = api.post(f"/volumes/{volume_id}/files", body)
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert answer.json == {"message": "File written successfully", "path": "plugins/config.yml"}
    assert api.get(f"/volumes/{volume_id}/files").json == {
        "files": [{"name": "plugins", "type": "directory", "size": 0}]
    }
    assert api.get(f"/volumes/{volume_id}/files?path=plugins").json == {
        "files": [{"name": "config.yml", "type": "file", "size": 33}]
    }
    detailed = api.get(f"/volumes/{volume_id}/files?path=plugins&detailed=true").json["files"][0]
    assert {"mode", "modified_at", "mimetype"} <= set(detailed)


def test_bytes_are_written_from_base64(api: Api, volume_id: str, files_process: FilesProcess) -> None:
    body = {"path": "world.dat", "content": "AP/+", "encoding": "base64"}
    assert api.post(f"/volumes/{volume_id}/files", body).status_code == 200
    written = files_process.settings.data / "volumes" / volume_id / "world.dat"
    assert written.read_bytes() == b"\x00\xff\xfe"


def test_a_file_that_must_not_be_replaced_is_kept(api: Api, volume_id: str) -> None:
    body = {"path": "a.txt", "content": "x", "overwrite": False}
    assert api.post(f"/volumes/{volume_id}/files", body).status_code == 200
    assert refusal(api.post(f"/volumes/{volume_id}/files", body)) == (409, "File already exists at path: a.txt")


def test_a_name_that_is_not_utf8_goes_in_and_out(api: Api, volume_id: str, files_process: FilesProcess) -> None:
    folder = os.fsencode(files_process.settings.data / "volumes" / volume_id) + b"/caf\xe9"
    os.mkdir(folder)
    assert api.post(f"/volumes/{volume_id}/files", {"path": "caf\udce9/menu", "content": "x"}).status_code == 200
    assert os.listdir(folder) == [b"menu"]
    listed = api.get(f"/volumes/{volume_id}/files?path=caf%E9")
    assert [entry["name"] for entry in listed.json["files"]] == ["menu"]


def test_a_folder_is_made_and_copied_once(api: Api, volume_id: str) -> None:
    answer = api.post(f"/volumes/{volume_id}/folders", {"path": "a/b"})
    assert answer.json == {"message": "Folder created successfully", "path": "a/b"}
    body = {"source": "a", "destination": "c"}
    assert api.post(f"/volumes/{volume_id}/copy", body).json == {"message": "Copied successfully", **body}
    again = api.post(f"/volumes/{volume_id}/copy", body)
    assert again.status_code == 409


ESCAPES = ["..", "../a", "a/../../b", "/etc/passwd", "C:\\x", "a\0b", "", "..\\a", "%2e%2e/a", "\\\\host\\x"]


@pytest.mark.parametrize("path", ESCAPES)
@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("files", {"path": None, "content": "x"}),
        ("folders", {"path": None}),
        ("copy", {"source": None, "destination": "b"}),
        ("copy", {"source": "b", "destination": None}),
    ],
)
def test_a_path_out_of_the_volume_is_refused(
    api: Api, volume_id: str, path: str, call: str, body: dict[str, str | None]
) -> None:
    sent = {name: path if value is None else value for name, value in body.items()}
    answer = api.post(f"/volumes/{volume_id}/{call}", sent)
    assert refusal(answer) == (400, "Invalid path: path traversal detected")
    assert answer.json["code"] == "path_traversal"


@pytest.mark.parametrize("path", [escape for escape in ESCAPES if escape])
def test_a_folder_out_of_the_volume_is_not_listed(api: Api, volume_id: str, path: str) -> None:
    answer = api.get(f"/volumes/{volume_id}/files", query_string={"path": path})
    assert refusal(answer) == (400, "Invalid path: path traversal detected")


@pytest.mark.parametrize(
    ("call", "body", "field"),
    [
        ("files", {"content": "x"}, "path"),
        ("files", {"path": "a"}, "content"),
        ("files", {"path": 7, "content": "x"}, "path"),
        ("files", {"path": "a", "content": 7}, "content"),
        ("files", {"path": "a", "content": "\udcff"}, "content"),
        ("files", {"path": "a", "content": "x", "encoding": "utf-16"}, "encoding"),
        ("files", {"path": "a", "content": "!", "encoding": "base64"}, "content"),
        ("files", {"path": "a", "content": "x", "overwrite": "no"}, "overwrite"),
        ("files", {"path": "a", "content": "x", "mode": "644"}, "mode"),
        ("folders", {}, "path"),
        ("copy", {"source": "a"}, "destination"),
    ],
)
def test_a_bad_call_about_files_names_the_field(
    api: Api, volume_id: str, call: str, body: dict[str, object], field: str
) -> None:
    answer = api.post(f"/volumes/{volume_id}/{call}", body)
    assert answer.status_code == 400
    assert list(answer.json["fields"]) == [field]


def test_a_text_may_contain_nul(api: Api, volume_id: str) -> None:
    assert api.post(f"/volumes/{volume_id}/files", {"path": "a", "content": "\0"}).status_code == 200


def test_a_missing_folder_is_told_by_the_host(api: Api, volume_id: str) -> None:
    assert api.get(f"/volumes/{volume_id}/files?path=nowhere").status_code == 404


def test_the_request_id_reaches_the_host(api: Api, volume_id: str, files_process: FilesProcess) -> None:
    api.get(f"/volumes/{volume_id}/quota", headers={"X-Request-ID": "seen-on-the-host"})
    assert "seen-on-the-host" in files_process.log.read_text()


def test_a_host_that_is_offline_is_named_at_once(api: Api, offered: Services, volume_id: str) -> None:
    offered.nodes.announce(Node(NODE, "unix:///nowhere", time.time() - 60, 1, 1, ""))
    for answer in (api.get(f"/volumes/{volume_id}/files"), api.delete(f"/volumes/{volume_id}")):
        assert answer.status_code == 503
        assert answer.json["code"] == "node_offline"
        assert NODE in answer.json["error"]
    offered.nodes.announce(Node(NODE, offered.settings.files_address, time.time(), 1, 1, ""))
    assert api.get(f"/volumes/{volume_id}").status_code == 200


def test_a_host_that_was_never_there_is_no_host_to_wait_for(api: Api) -> None:
    answer = api.post("/volumes", {"node": "nowhere"})
    assert (answer.status_code, answer.json["code"]) == (404, "node_not_found")
    assert api.get("/volumes").json["volumes"] == []


def test_a_host_that_does_not_know_the_store_is_asked_for_nothing(api: Api, offered: Services, volume_id: str) -> None:
    estranged = Node(NODE, offered.settings.files_address, time.time(), 1, 1, "", must_recover=True)
    offered.nodes.announce(estranged)
    for answer in (api.post("/volumes"), api.delete(f"/volumes/{volume_id}"), api.get(f"/volumes/{volume_id}/files")):
        assert (answer.status_code, answer.json["code"]) == (503, "node_must_recover")
        assert "./lightd recover" in answer.json["error"] and NODE in answer.json["error"]
    assert f"{NODE}/recover" in api.get("/readyz").json["missing"]
    assert api.get(f"/volumes/{volume_id}").status_code == 200, "the record can still be read"
    offered.nodes.announce(replace(estranged, must_recover=False))
    assert api.get(f"/volumes/{volume_id}/files").status_code == 200


def test_a_files_process_that_is_down_is_named(api: Api, offered: Services) -> None:
    record(offered, UNKNOWN)
    for address in ("unix:///nowhere/files.sock", "http://127.0.0.1:9"):
        offered.nodes.announce(Node(NODE, address, time.time(), 1, 1, ""))
        answer = api.get(f"/volumes/{UNKNOWN}/files")
        assert answer.status_code == 503
        assert answer.json["error"] == f"Node {NODE}'s files process does not answer; try again soon."
        assert answer.headers["Retry-After"]


def test_a_volume_whose_making_failed_unheard_is_left_to_the_agent(api: Api, offered: Services) -> None:
    offered.nodes.announce(Node(NODE, "unix:///nowhere/files.sock", time.time(), 1, 1, ""))
    assert api.post("/volumes").status_code == 503
    assert api.get("/volumes").json["volumes"] == []
    assert [volume.state for volume in offered.volumes.unfinished(NODE, -1)] == ["deleting"]


def test_a_host_with_another_secret_is_told_from_a_forbidden_call(api: Api, offered: Services, volume_id: str) -> None:
    name = "n2"
    offered.nodes.announce(Node(name, offered.settings.files_address, time.time(), 1, 1, ""))
    now = int(time.time())
    offered.volumes.save(Volume(UNKNOWN, name, "/x", 16, "directory", "ready", now, now))
    answer = api.get(f"/volumes/{UNKNOWN}/files")
    assert answer.status_code == 503
    assert "LIGHTD_SECRET" in answer.json["error"]
