"""The files process over its socket, with signed calls."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from fleet.settings import Settings
from fleet.signing import sign_call
from storage.volumes import volume_path
from storage.volumes.mounts import is_mounted, unmount
from tests.storage.conftest import OWNER, VOLUME_ID
from tests.storage.escapes import EMPTY, HARMLESS, LINKS_OUT, NOT_TEXT, TRAVERSALS
from tests.storage.files_process import FilesProcess, running_files_process
from tests.support.deadline import eventually

BASE = f"/volumes/{VOLUME_ID}"
TRAVERSAL = {"error": "Invalid path: path traversal detected", "code": "path_traversal"}


@pytest.fixture
def volume(files_process: FilesProcess, served_folder: Path) -> FilesProcess:
    """The files process, with an empty volume called VOLUME_ID."""
    assert served_folder.exists()
    return files_process


def test_the_socket_is_for_one_user_only(files_process: FilesProcess) -> None:
    assert stat.S_IMODE(files_process.socket.stat().st_mode) == 0o600


def test_a_volumes_life(files_process: FilesProcess) -> None:
    files_process.call("DELETE", BASE)
    path = str(volume_path(files_process.settings, VOLUME_ID))
    made = files_process.call("POST", BASE, {"size_mb": 32})
    assert (made.status, made.json) == (
        201,
        {"volume_id": VOLUME_ID, "path": path, "quota_mb": 32, "quota_driver": "loop"},
    )
    assert files_process.call("POST", BASE, {"size_mb": 32}).json == made.json
    quota = files_process.call("GET", BASE + "/quota").json
    assert quota["size_mb"] == 32 and set(quota) == {"size_mb", "used_mb", "available_mb", "percentage_used"}
    for _ in range(2):
        assert files_process.call("DELETE", BASE).status == 204
    missing = files_process.call("GET", BASE + "/quota")
    assert (missing.status, missing.json["error"]) == (404, "Volume not found")


def test_files_are_written_listed_and_copied(volume: FilesProcess, served_folder: Path) -> None:
    written = volume.call("POST", BASE + "/files", {"path": "plugins/config.yml", "content": "a: ü\n"})
    assert (written.status, written.json) == (
        200,
        {"message": "File written successfully", "path": "plugins/config.yml"},
    )
    file = served_folder / "plugins/config.yml"
    assert file.read_text() == "a: ü\n"
    assert (file.stat().st_uid, file.stat().st_gid) == OWNER
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o755
    made = volume.call("POST", BASE + "/folders", {"path": "plugins/empty"})
    assert made.json == {"message": "Folder created successfully", "path": "plugins/empty"}
    copied = volume.call("POST", BASE + "/copy", {"source": "plugins", "destination": "saved"})
    assert copied.json == {"message": "Copied successfully", "source": "plugins", "destination": "saved"}
    assert volume.call("GET", BASE + "/files?path=saved").json == {
        "files": [
            {"name": "empty", "type": "directory", "size": 0},
            {"name": "config.yml", "type": "file", "size": 6},
        ]
    }
    detailed = volume.call("GET", BASE + "/files?path=saved&detailed=true").json["files"][1]
    assert detailed["mimetype"] == "application/yaml" and detailed["mode"] == "644"
    assert abs(detailed["modified_at"] - time.time()) < 60


def test_bytes_come_as_base64(volume: FilesProcess, served_folder: Path) -> None:
    body = {"path": "b", "content": base64.b64encode(bytes(range(256))).decode(), "encoding": "base64"}
    assert volume.call("POST", BASE + "/files", body).status == 200
    assert (served_folder / "b").read_bytes() == bytes(range(256))


def test_conflicts_and_a_full_volume_have_their_status(volume: FilesProcess) -> None:
    body = {"path": "a", "content": "1", "overwrite": False}
    volume.call("POST", BASE + "/files", body)
    twice = volume.call("POST", BASE + "/files", body)
    assert (twice.status, twice.json["error"]) == (409, "File already exists at path: a")
    full = volume.call("POST", BASE + "/files", {"path": "big", "content": "x" * (70 << 20)})
    assert (full.status, full.json["code"]) == (413, "quota_exceeded")
    assert [entry["name"] for entry in volume.call("GET", BASE + "/files").json["files"]] == ["a"]


@pytest.mark.parametrize("text", TRAVERSALS + EMPTY + NOT_TEXT)
def test_no_path_field_takes_a_traversal(server_for_escapes: FilesProcess, text: Any) -> None:
    for route, body in (
        ("/files", {"path": text, "content": "x"}),
        ("/folders", {"path": text}),
        ("/copy", {"source": text, "destination": "x"}),
        ("/copy", {"source": "real", "destination": text}),
    ):
        refused = server_for_escapes.call("POST", BASE + route, body)
        assert (refused.status, refused.json | TRAVERSAL) == (400, refused.json)
    if isinstance(text, str) and text not in EMPTY:
        spelled = quote(text, errors="surrogatepass")
        refused = server_for_escapes.call("GET", f"{BASE}/files?path={spelled}")
        # Three bytes that encode a lone surrogate are a name like any other, only missing.
        assert refused.status in ((404, 409) if "\ud800" in text else (400,))


@pytest.fixture(scope="module")
def server_for_escapes(files_process: FilesProcess) -> FilesProcess:
    """One volume with a file in it, for a whole corpus."""
    files_process.call("POST", BASE, {"size_mb": 32})
    files_process.call("POST", BASE + "/files", {"path": "real", "content": "x"})
    return files_process


@pytest.mark.parametrize("target", LINKS_OUT)
def test_links_out_of_the_volume_lead_nowhere(volume: FilesProcess, served_folder: Path, target: str) -> None:
    (served_folder / "link").symlink_to(target)
    for route, body in (
        ("/files", {"path": "link/passwd", "content": "x"}),
        ("/folders", {"path": "link/new"}),
        ("/copy", {"source": "link/passwd", "destination": "stolen"}),
    ):
        assert volume.call("POST", BASE + route, body).status == 400
    assert os.listdir(served_folder) == ["link"]


@pytest.mark.parametrize("text", HARMLESS)
def test_odd_names_survive_json_and_queries(server_for_escapes: FilesProcess, text: str) -> None:
    folder = quote(text.encode("utf-8", "surrogateescape"), safe="")
    assert server_for_escapes.call("POST", BASE + "/files", {"path": f"{text}/{text}", "content": ""}).status == 200
    listed = server_for_escapes.call("GET", f"{BASE}/files?path={folder}").json
    assert [entry["name"] for entry in listed["files"]] == [text]


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        {},
        {"path": "a"},
        {"path": "a", "content": 1},
        {"path": "a", "content": "é", "encoding": "base64"},
        {"path": "a", "content": "x", "encoding": "rot13"},
        {"path": "a", "content": "x", "overwrite": "no"},
        {"path": "a", "content": "\ud800"},
    ],
)
def test_odd_bodies_are_refused(server_for_escapes: FilesProcess, body: Any) -> None:
    answer = server_for_escapes.call("POST", BASE + "/files", body)
    assert answer.status == 400 and set(answer.json) >= {"error", "code"}


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b'{"path": "a", "content": "' + b"[" * 100000])
def test_malformed_json_is_refused(server_for_escapes: FilesProcess, raw: bytes) -> None:
    assert server_for_escapes.call("POST", BASE + "/files", raw=raw).status == 400


@pytest.mark.parametrize("size", [None, "1", 1.5, True, -1, 0, 10**30])
def test_odd_sizes_are_refused(server_for_escapes: FilesProcess, size: Any) -> None:
    assert server_for_escapes.call("POST", BASE, {"size_mb": size}).status in (400, 201)
    other = "/volumes/00000000-1111-4222-8333-444455556666"
    assert server_for_escapes.call("POST", other, {"size_mb": size}).status == 400


def test_unsigned_and_wrongly_signed_calls_are_refused(server_for_escapes: FilesProcess) -> None:
    target = BASE + "/files?path=a"
    node, key = server_for_escapes.settings.node, server_for_escapes.settings.signing_key()
    wrong = [
        "",
        "Bearer x",
        sign_call("other key", node, "GET", target),
        sign_call(key, "node-b", "GET", target),
        sign_call(key, node, "POST", target),
        sign_call(key, node, "GET", BASE + "/files?path=b"),
        sign_call(key, node, "GET", BASE + "/files"),
    ]
    for authorization in wrong:
        refused = server_for_escapes.call("GET", target, headers={"Authorization": authorization})
        assert (refused.status, refused.json["code"]) == (403, "bad_signature")
    assert server_for_escapes.call("GET", "/healthz", headers={"Authorization": ""}).json == {"status": "ok"}


def test_unknown_routes_and_methods_are_json_too(server_for_escapes: FilesProcess) -> None:
    assert server_for_escapes.call("GET", "/nothing").json["code"] == "not_found"
    assert server_for_escapes.call("PUT", BASE + "/folders").status == 405


def test_the_request_id_comes_back_and_queries_are_never_logged(server_for_escapes: FilesProcess) -> None:
    answer = server_for_escapes.call("GET", BASE + "/files?path=hidden-in-query", headers={"X-Request-ID": "id-1"})
    assert answer.headers["X-Request-ID"] == "id-1"
    insane = server_for_escapes.call("GET", BASE + "/files", headers={"X-Request-ID": "a b"})
    assert insane.headers["X-Request-ID"] not in ("a b", "")
    log = server_for_escapes.log.read_text()
    assert "request_id=id-1" in log and "hidden-in-query" not in log


def test_volumes_are_mounted_again_when_the_process_starts(settings: Settings) -> None:
    folder = volume_path(settings, VOLUME_ID)
    with running_files_process(settings) as process:
        process.call("POST", BASE, {"size_mb": 32})
        process.call("POST", BASE + "/files", {"path": "kept", "content": "x"})
    assert unmount(folder, detach=False)
    with running_files_process(settings):
        eventually(lambda: is_mounted(folder) and (folder / "kept").exists(), within_seconds=20, what="the mount")


def test_a_start_waits_for_no_volume_whose_check_takes_long(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = VOLUME_ID.replace("1111", "2222")
    with running_files_process(settings) as process:
        for volume_id in (VOLUME_ID, other):
            assert process.call("POST", f"/volumes/{volume_id}", {"size_mb": 32}).status == 201
            assert unmount(volume_path(settings, volume_id), detach=False)
    os.mkfifo(tmp_path / "go")
    slow = tmp_path / "e2fsck"
    slow.write_text(f"""#!/bin/sh
case "$*" in *{VOLUME_ID}*) touch {tmp_path}/begun; read line < {tmp_path}/go;; esac
exec /sbin/e2fsck "$@"
""")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with running_files_process(settings) as process:
        eventually((tmp_path / "begun").exists, within_seconds=20, what="the check of the first volume")
        assert process.call("POST", f"/volumes/{other}/files", {"path": "a", "content": "x"}).status == 200
        assert not is_mounted(volume_path(settings, VOLUME_ID))
        (tmp_path / "go").write_text("now\n")
        assert process.call("GET", f"/volumes/{VOLUME_ID}/files").json == {"files": []}


def test_what_a_killed_process_left_is_removed_beside_the_work(settings: Settings) -> None:
    leftover = volume_path(settings, VOLUME_ID) / ".lightd-0123456789abcdef"
    with running_files_process(settings) as process:
        process.call("POST", BASE, {"size_mb": 32})
    (leftover / "tree/deep").mkdir(parents=True)
    with running_files_process(settings) as process:
        assert process.call("GET", BASE + "/files").json == {"files": []}
        eventually(lambda: not leftover.exists(), within_seconds=20, what="the end of the sweep")


def test_many_calls_at_once(volume: FilesProcess) -> None:
    def write(number: int) -> int:
        return volume.call("POST", BASE + "/files", {"path": f"many/{number}", "content": str(number)}).status

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(write, range(200))) == {200}
    assert len(volume.call("GET", BASE + "/files?path=many").json["files"]) == 200


def test_a_killed_files_process_leaves_no_half_file(settings: Settings) -> None:
    with running_files_process(settings) as process:
        process.call("POST", BASE, {"size_mb": 64})
        process.call("POST", BASE + "/files", {"path": "a", "content": "old"})
        connection = process.connection()
        target = BASE + "/files"
        connection.putrequest("POST", target)
        connection.putheader("Authorization", process.signature("POST", target))
        connection.putheader("Content-Length", "20000000")
        connection.endheaders()
        connection.send(b'{"path": "a", "content": "' + b"x" * 5_000_000)
        children = subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(process.process.pid)], text=True).split()
        for child in children:
            os.kill(int(child), 9)
        connection.close()
    with running_files_process(settings):
        folder = volume_path(settings, VOLUME_ID)
        assert os.listdir(folder) == ["a"] and (folder / "a").read_text() == "old"


def test_names_and_content_over_the_wire(volume: FilesProcess) -> None:
    volume.call("POST", BASE + "/files", {"path": "a.txt", "content": "hello"})
    assert volume.call("GET", BASE + "/files/content?path=a.txt").json == {"path": "a.txt", "content": "hello"}
    renamed = volume.call("POST", BASE + "/rename", {"from": "a.txt", "to": "b/c.txt"})
    assert renamed.json == {"message": "Renamed successfully", "from": "a.txt", "to": "b/c.txt"}
    changed = volume.call("POST", BASE + "/chmod", {"path": "b/c.txt", "mode": "600"})
    assert changed.json == {"message": "Permissions changed successfully", "path": "b/c.txt", "mode": "600"}
    found = volume.call("GET", BASE + "/search?pattern=*.txt")
    assert found.json == {"files": [{"path": "b/c.txt", "type": "file", "size": 5}], "truncated": False}
    deleted = volume.call("POST", BASE + "/delete", {"paths": ["b"]})
    assert deleted.json == {"message": "Deleted successfully", "deleted_count": 1}
    resized = volume.call("POST", BASE + "/resize", {"size_mb": 48})
    assert resized.json["size_mb"] == 48
    for target in ("/search?pattern=", "/search?pattern=*&limit=0", "/files/content?path=.."):
        assert volume.call("GET", BASE + target).status == 400
    for paths in (None, [], "a", [1], [".."], [""]):
        assert volume.call("POST", BASE + "/delete", {"paths": paths}).status == 400
