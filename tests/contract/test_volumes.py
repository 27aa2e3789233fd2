"""Volumes and the core of their files."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.support.answers import Answer, accepted, refused
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine

UNKNOWN = "d6764075-c5f1-4045-9fb3-85315b85cb0f"


@pytest.fixture
def volume(servers: Servers) -> str:
    return str(servers.volume()["volume_id"])


def write(stack: Stack, volume: str, path: str, content: str = "", **more: object) -> Answer:
    body = {"path": path, "content": content, **more}
    return accepted(stack.api("POST", f"/volumes/{volume}/files", json=body))


def listed(stack: Stack, volume: str, path: str | None = None) -> list[Answer]:
    parameters = {} if path is None else {"path": path}
    files = accepted(stack.api("GET", f"/volumes/{volume}/files", params=parameters))["files"]
    return [file for file in files if file["name"] != "lost+found"]


def on_host(stack: Stack, volume: str) -> Path:
    return Path(accepted(stack.api("GET", f"/volumes/{volume}"))["path"])


def test_a_volume_is_made_without_a_body(stack: Stack) -> None:
    made = accepted(stack.api("POST", "/volumes"), 201)
    assert str(uuid.UUID(made["volume_id"])) == made["volume_id"] == made["id"]
    assert Path(made["path"]).is_dir()
    assert isinstance(made["created_at"], int)
    assert made["quota_mb"] == 64, "the default size is a setting"
    assert made["quota_driver"]
    assert made["node"] == stack.node
    assert stack.api("DELETE", f"/volumes/{made['volume_id']}").status_code == 204


def test_a_volume_has_the_size_that_was_asked_for(stack: Stack, servers: Servers) -> None:
    made = servers.volume(size_mb=20)
    assert made["quota_mb"] == 20
    assert accepted(stack.api("GET", f"/volumes/{made['volume_id']}"))["quota_mb"] == 20


def test_a_volume_is_in_the_list_until_it_is_deleted(stack: Stack, volume: str) -> None:
    def ids() -> list[str]:
        return [item["volume_id"] for item in accepted(stack.api("GET", "/volumes"))["volumes"]]

    assert volume in ids()
    path = on_host(stack, volume)
    answer = stack.api("DELETE", f"/volumes/{volume}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert volume not in ids()
    assert not path.exists()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("DELETE", "", None),
        ("GET", "/files", None),
        ("POST", "/files", {"path": "a", "content": ""}),
        ("POST", "/folders", {"path": "a"}),
        ("POST", "/copy", {"source": "a", "destination": "b"}),
    ],
)
def test_an_unknown_volume_is_404_everywhere(stack: Stack, method: str, path: str, body: Answer | None) -> None:
    refused(stack.api(method, f"/volumes/{UNKNOWN}{path}", json=body), 404, "Volume not found")
    refused(stack.api(method, f"/volumes/{UNKNOWN[:8]}{path}", json=body), 404, "Volume not found")


def test_eight_digits_of_its_id_are_enough_everywhere(stack: Stack, volume: str) -> None:
    short = volume[:8]
    write(stack, short, "config.yml", "a: 1")
    accepted(stack.api("POST", f"/volumes/{short}/folders", json={"path": "plugins"}))
    accepted(stack.api("POST", f"/volumes/{short}/copy", json={"source": "config.yml", "destination": "copy.yml"}))
    assert [file["name"] for file in listed(stack, short)] == ["plugins", "config.yml", "copy.yml"]
    assert accepted(stack.api("GET", f"/volumes/{short}"))["volume_id"] == volume
    assert accepted(stack.api("GET", f"/volumes/{volume[:13]}"))["volume_id"] == volume


@pytest.mark.parametrize("digits", [1, 7])
def test_less_than_eight_digits_name_no_volume(stack: Stack, volume: str, digits: int) -> None:
    assert stack.api("GET", f"/volumes/{volume[:digits]}").status_code in (400, 404)


def test_a_volume_that_a_container_uses_cannot_be_deleted(stack: Stack, servers: Servers, volume: str) -> None:
    container = servers.create(volume_id=volume)
    refused(stack.api("DELETE", f"/volumes/{volume}"), 409)
    accepted(stack.api("DELETE", f"/containers/{container}"))
    assert stack.api("DELETE", f"/volumes/{volume}").status_code == 204


def test_a_written_file_is_in_the_volume_with_its_parents(stack: Stack, volume: str) -> None:
    body = write(stack, volume, "plugins/world edit/config.yml", "größe: 20\n")
    assert body == {"message": "File written successfully", "path": "plugins/world edit/config.yml"}
    written = on_host(stack, volume) / "plugins/world edit/config.yml"
    assert written.read_text() == "größe: 20\n"
    assert (written.stat().st_uid, written.stat().st_gid) == (1000, 1000)
    assert (written.parent.stat().st_uid, written.parent.stat().st_gid) == (1000, 1000)


def test_a_file_is_replaced_unless_the_client_says_not_to(stack: Stack, volume: str) -> None:
    write(stack, volume, "a.txt", "first, and longer")
    write(stack, volume, "a.txt", "second")
    body = {"path": "a.txt", "content": "third", "overwrite": False}
    refused(stack.api("POST", f"/volumes/{volume}/files", json=body), 409, "File already exists at path: a.txt")
    assert (on_host(stack, volume) / "a.txt").read_text() == "second"


def test_bytes_are_written_as_base64(stack: Stack, volume: str) -> None:
    write(stack, volume, "icon.png", "iVBORwD//g==", encoding="base64")
    assert (on_host(stack, volume) / "icon.png").read_bytes() == b"\x89PNG\x00\xff\xfe"
    body = {"path": "b", "content": "this is no base64!", "encoding": "base64"}
    refused(stack.api("POST", f"/volumes/{volume}/files", json=body), 400)
    assert not (on_host(stack, volume) / "b").exists()


def test_a_write_past_the_size_of_the_volume_is_413_and_leaves_the_old_file(stack: Stack, servers: Servers) -> None:
    volume = servers.volume(size_mb=16)["volume_id"]
    for number in range(4):
        body = {"path": f"fill-{number}", "content": "x" * (5 * 2**20)}
        answer = stack.api("POST", f"/volumes/{volume}/files", json=body)
        if answer.status_code != 200:
            break
    assert refused(answer, 413)["code"] == "quota_exceeded"
    names = sorted(path.name for path in on_host(stack, volume).iterdir() if path.name != "lost+found")
    assert names == [f"fill-{full}" for full in range(number)]


def test_a_listing_names_folders_first_and_then_by_name(stack: Stack, volume: str) -> None:
    write(stack, volume, "b.txt", "12345")
    write(stack, volume, "a.txt")
    write(stack, volume, "z/inner.txt", "1")
    accepted(stack.api("POST", f"/volumes/{volume}/folders", json={"path": "m"}))
    assert [(file["name"], file["type"], file["size"]) for file in listed(stack, volume)] == [
        ("m", "directory", 0),
        ("z", "directory", 0),
        ("a.txt", "file", 0),
        ("b.txt", "file", 5),
    ]
    assert [file["name"] for file in listed(stack, volume, "z")] == ["inner.txt"]
    assert listed(stack, volume, "m") == []


def test_listing_what_is_not_there_is_404_and_what_is_no_folder_is_refused(stack: Stack, volume: str) -> None:
    write(stack, volume, "a.txt")
    refused(stack.api("GET", f"/volumes/{volume}/files?path=nothing"), 404)
    assert stack.api("GET", f"/volumes/{volume}/files?path=a.txt").status_code in (400, 409)


def test_a_folder_is_made_with_its_parents_for_the_containers_user(stack: Stack, volume: str) -> None:
    body = accepted(stack.api("POST", f"/volumes/{volume}/folders", json={"path": "plugins/data"}))
    assert body == {"message": "Folder created successfully", "path": "plugins/data"}
    folder = on_host(stack, volume) / "plugins/data"
    assert folder.is_dir()
    assert folder.stat().st_uid == 1000


def test_a_folder_where_a_file_is_is_409(stack: Stack, volume: str) -> None:
    write(stack, volume, "a")
    refused(stack.api("POST", f"/volumes/{volume}/folders", json={"path": "a"}), 409)


def test_files_and_whole_folders_are_copied(stack: Stack, volume: str) -> None:
    write(stack, volume, "world/region/r.0", "data")
    for source, destination in (("world", "backup/world"), ("world/region/r.0", "r.copy")):
        body = {"source": source, "destination": destination}
        answer = accepted(stack.api("POST", f"/volumes/{volume}/copy", json=body))
        assert answer == {"message": "Copied successfully", **body}
    root = on_host(stack, volume)
    assert (root / "backup/world/region/r.0").read_text() == (root / "r.copy").read_text() == "data"
    assert (root / "backup/world/region/r.0").stat().st_uid == 1000


def test_a_copy_onto_something_is_409_and_of_nothing_404(stack: Stack, volume: str) -> None:
    write(stack, volume, "a", "1")
    write(stack, volume, "b", "2")
    refused(stack.api("POST", f"/volumes/{volume}/copy", json={"source": "a", "destination": "b"}), 409)
    refused(stack.api("POST", f"/volumes/{volume}/copy", json={"source": "nothing", "destination": "c"}), 404)
    assert (on_host(stack, volume) / "b").read_text() == "2"


def test_a_folder_is_not_copied_into_itself(stack: Stack, volume: str) -> None:
    write(stack, volume, "world/level", "1")
    answer = stack.api("POST", f"/volumes/{volume}/copy", json={"source": "world", "destination": "world/inner/copy"})
    assert answer.status_code in (400, 409)
    assert [file["name"] for file in listed(stack, volume, "world")] == ["level"]
