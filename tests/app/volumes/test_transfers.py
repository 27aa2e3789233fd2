"""Downloads, uploads and signed links, through the API and past it."""

from __future__ import annotations

import io
import os
import tarfile
import time
import zipfile
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask

from app.services import Services
from fleet.links import Link, check_link, sign_link
from fleet.models import Node
from tests.app.conftest import NODE, Api
from tests.app.volumes.conftest import Files

TRAVERSAL = "Invalid path: path traversal detected"
OWN_ADDRESS = "http://127.0.0.1:9"


@pytest.fixture
def content(files: Files) -> bytes:
    """The content of `world.dat`, larger than one step of the way."""
    data = os.urandom(1_000_003)
    (files.folder / "world.dat").write_bytes(data)
    return data


@pytest.fixture
def own_address(files: Files, offered: Services, node: Node) -> None:
    """The host's files process listens on HTTP."""
    offered.nodes.announce(replace(node, files_address=OWN_ADDRESS))


def test_a_file_is_downloaded_with_the_headers_of_its_host(files: Files, content: bytes) -> None:
    answer = files.get("download", path="world.dat")
    assert (answer.status_code, answer.data) == (200, content)
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert 'filename="world.dat"' in answer.headers["Content-Disposition"]
    assert answer.headers["Accept-Ranges"] == "bytes"


def test_a_download_goes_on_where_it_broke_off(files: Files, content: bytes) -> None:
    whole = files.get("download", path="world.dat")
    headers = {"Range": "bytes=1000000-", "If-Range": whole.headers["ETag"]}
    answer = files.api.get(f"{files.url}/download?path=world.dat", headers=headers)
    assert (answer.status_code, answer.data) == (206, content[-3:])
    assert answer.headers["Content-Range"] == f"bytes 1000000-1000002/{len(content)}"


def test_a_part_that_is_not_there_is_416_with_the_size(files: Files, content: bytes) -> None:
    answer = files.api.get(f"{files.url}/download?path=world.dat", headers={"Range": "bytes=2000000-"})
    assert (answer.status_code, answer.json["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(content)}"


def test_a_download_of_a_file_that_is_cut_meanwhile_breaks_off(files: Files) -> None:
    world = files.folder / "world.dat"
    with world.open("wb") as file:
        file.truncate(20 * 1024**2)
    answer = files.api.get(f"{files.url}/download?path=world.dat", buffered=False)
    pieces = answer.iter_encoded()
    assert next(pieces)
    os.truncate(world, 100)
    with pytest.raises(ConnectionResetError):
        for _ in pieces:
            pass
    world.write_text("the next one")
    assert files.get("download", path="world.dat").data == b"the next one"


def test_the_head_of_a_download_can_be_asked_for(files: Files, content: bytes) -> None:
    answer = files.api.call("HEAD", f"{files.url}/download?path=world.dat")
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(content))


def test_a_folder_is_downloaded_as_an_archive(files: Files, content: bytes) -> None:
    packed = files.get("download", format="zip")
    assert zipfile.ZipFile(io.BytesIO(packed.data)).read("world.dat") == content
    (files.folder / "d").mkdir()
    (files.folder / "d/a").write_text("x")
    packed = files.get("download", path="d")
    with tarfile.open(fileobj=io.BytesIO(packed.data), mode="r:gz") as archive:
        assert "d/a" in archive.getnames()
    assert "d.tar.gz" in packed.headers["Content-Disposition"]


def test_a_download_that_cannot_be_is_told(files: Files) -> None:
    assert files.get("download", path="missing").status_code == 404
    assert files.get("download", format="rar").status_code == 400
    assert files.get("download", path="../x").json["error"] == TRAVERSAL
    os.mkfifo(files.folder / "pipe")
    assert files.get("download", path="pipe").status_code == 409


def test_an_upload_appears_with_its_folders(files: Files) -> None:
    data = os.urandom(700_001)
    answer = files.put("upload", data, path="plugins/a.jar")
    assert (answer.status_code, answer.json["size"]) == (200, len(data))
    assert (files.folder / "plugins/a.jar").read_bytes() == data


def test_an_upload_may_be_larger_than_any_json_body_may(files: Files) -> None:
    data = bytes(17 * 1024**2)
    assert files.put("upload", data, path="big").json["size"] == len(data)


def test_an_empty_upload_makes_an_empty_file(files: Files) -> None:
    assert files.put("upload", b"", path="empty").status_code == 200
    assert (files.folder / "empty").read_bytes() == b""


def test_an_upload_past_the_volume_is_413_and_leaves_nothing(files: Files) -> None:
    answer = files.put("upload", bytes(40 * 1024**2), path="big")
    assert (answer.status_code, answer.json["code"]) == (413, "quota_exceeded")
    assert list(files.folder.iterdir()) == []


def test_an_upload_shorter_than_it_said_is_refused_and_leaves_the_old_file(files: Files) -> None:
    (files.folder / "a").write_text("old")
    answer = files.api.put(f"{files.url}/upload?path=a", data=b"short", environ_overrides={"CONTENT_LENGTH": "100"})
    assert (answer.status_code, answer.json["code"]) == (400, "cut_off")
    assert (files.folder / "a").read_text() == "old"
    assert files.get("quota").status_code == 200


def test_an_upload_can_be_told_to_replace_nothing(files: Files, content: bytes) -> None:
    answer = files.put("upload", b"new", path="world.dat", overwrite="false")
    assert answer.status_code == 409
    assert (files.folder / "world.dat").read_bytes() == content


@pytest.mark.parametrize("path", ["../x", "/x", "", "a/../../x"])
def test_no_upload_leaves_the_volume(files: Files, path: str) -> None:
    assert files.put("upload", b"x", path=path).json["error"] == TRAVERSAL


def test_a_transfer_needs_a_token(files: Files, application: Flask) -> None:
    client = application.test_client()
    assert client.get(f"{files.url}/download?path=a").status_code == 401
    assert client.put(f"{files.url}/upload?path=a", data=b"x").status_code == 401


def link(files: Files, **wanted: Any) -> str:
    """The path of a new link's URL."""
    answer = files.post("links", wanted)
    assert answer.status_code == 200, answer.json
    parts = urlsplit(answer.json["url"])
    assert parts.netloc == "localhost"
    return parts.path


def test_a_link_downloads_without_any_header(files: Files, content: bytes, application: Flask) -> None:
    path = link(files, path="world.dat", action="download", ttl="5m")
    answer = application.test_client().get(path)
    assert answer.data == content
    assert application.test_client().get(path, headers={"Range": "bytes=0-9"}).data == content[:10]
    assert application.test_client().put(path, data=b"x").status_code == 403


def test_a_link_uploads_without_any_header(files: Files, application: Flask) -> None:
    path = link(files, path="new", action="upload")
    assert application.test_client().put(path, data=b"hello").status_code == 200
    assert (files.folder / "new").read_text() == "hello"
    assert application.test_client().put(f"{path}?overwrite=false", data=b"x").status_code == 409
    assert application.test_client().get(path).status_code == 403


def test_a_link_ends_when_the_token_that_made_it_is_revoked(files: Files, api: Api, application: Flask) -> None:
    (files.folder / "a").write_text("old")
    client, wanted = application.test_client(), {"path": "a", "action": "download"}
    issued, once = (api.post("/auth/tokens", {"ttl": "1h", "remove_on_use": use}).json for use in (False, True))
    calls = []
    for token in (issued, once):
        holder = Api(client, token["token"])
        calls.append(urlsplit(holder.post(f"{files.url}/links", wanted).json["url"]).path)
    assert [client.get(call).text for call in calls] == ["old", "old"]
    uploading = Api(client, issued["token"]).post(f"{files.url}/links", {"path": "a", "action": "upload"}).json["url"]
    assert api.delete(f"/auth/tokens/{issued['id']}").status_code == 204
    for refused in (client.get(calls[0]), client.put(urlsplit(uploading).path, data=b"new")):
        assert (refused.status_code, refused.json["code"]) == (403, "link_revoked")
    assert client.get(calls[1]).text == "old", "a token for a single use is used up, not revoked"
    assert api.delete(f"/auth/tokens/{once['id']}").status_code == 204
    assert client.get(calls[1]).json["code"] == "link_revoked"


def test_a_link_downloads_a_folder_in_the_format_asked_for(files: Files, content: bytes, application: Flask) -> None:
    answer = application.test_client().get(link(files, path="", action="download") + "?format=zip")
    assert zipfile.ZipFile(io.BytesIO(answer.data)).namelist() == ["world.dat"]


def test_a_link_that_expired_or_was_changed_is_refused(
    files: Files, content: bytes, application: Flask, offered: Services
) -> None:
    past = Link(NODE, files.volume_id, "world.dat", "download", int(time.time()) - 1)
    expired = sign_link(offered.settings.signing_key(), past)
    answer = application.test_client().get(f"/links/{expired}")
    assert (answer.status_code, answer.json["code"]) == (403, "link_expired")
    forged = sign_link("another key", replace(past, expires_at=past.expires_at + 100))
    assert application.test_client().get(f"/links/{forged}").json["code"] == "bad_link"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"path": "../x", "action": "download"}, "code:path_traversal"),
        ({"path": "", "action": "upload"}, "code:path_traversal"),
        ({"path": "a", "action": "delete"}, "action"),
        ({"path": "a", "action": "download", "ttl": "8d"}, "ttl"),
        ({"path": "a", "action": "download", "ttl": 60}, "ttl"),
        ({"action": "download"}, "path"),
    ],
)
def test_a_bad_link_is_not_made(files: Files, body: dict[str, Any], problem: str) -> None:
    answer = files.post("links", body)
    assert answer.status_code == 400
    assert problem in (*answer.json.get("fields", {}), f"code:{answer.json['code']}")


def test_without_an_address_of_the_host_a_direct_transfer_goes_through_the_api(files: Files, content: bytes) -> None:
    assert files.get("download", path="world.dat", direct=1).data == content


@pytest.mark.usefixtures("own_address")
def test_a_direct_transfer_is_sent_to_the_host(files: Files, offered: Services) -> None:
    key = offered.settings.signing_key()
    for action, answer in {
        "download": files.get("download", path="d", direct=1, format="zip"),
        "upload": files.put("upload", b"x", path="d", direct=1, overwrite="false"),
    }.items():
        assert answer.status_code == 307
        parts = urlsplit(answer.headers["Location"])
        assert f"{parts.scheme}://{parts.netloc}" == OWN_ADDRESS
        assert parts.query == {"download": "format=zip", "upload": "overwrite=false"}[action]
        allowed = check_link(key, NODE, action, parts.path.removeprefix("/links/"))
        assert (allowed.volume_id, allowed.path) == (files.volume_id, "d")


@pytest.mark.usefixtures("own_address")
def test_a_link_leads_to_the_host_where_that_has_an_address(files: Files) -> None:
    url = files.post("links", {"path": "a", "action": "download"}).json["url"]
    assert url.startswith(f"{OWN_ADDRESS}/links/")


def test_a_transfer_with_a_host_that_is_away_is_503(files: Files, api: Api, offered: Services, node: Node) -> None:
    gone = replace(node, files_address="unix:///nowhere/files.sock")
    offered.nodes.announce(gone)
    for answer in (files.get("download", path="a"), files.put("upload", b"x", path="a")):
        assert (answer.status_code, answer.json["code"]) == (503, "files_unavailable")
    offered.nodes.announce(node)
