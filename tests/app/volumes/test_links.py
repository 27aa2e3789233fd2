"""Where signed links lead, and that web pages may use them."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.services import Services
from fleet.models import Node
from fleet.settings import Settings
from tests.app.volumes.conftest import Files
from tests.storage.files_process import FilesProcess

PAGE = "https://panel.example.com"
PROXY, STRANGER = "10.1.2.3", "192.0.2.1"
FORWARDED = {"Host": "inner:8070", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "files.example.com"}


@pytest.fixture
def settings(files_process: FilesProcess) -> Settings:
    """Settings of an API behind a proxy."""
    return replace(files_process.settings, volume_size_mb=32, trusted_proxies=("10.0.0.0/8",))


def asked_by(files: Files, address: str) -> str:
    """The URL of a link that was asked for through this address."""
    wanted = {"path": "a", "action": "download"}
    asked = {"json": wanted, "headers": FORWARDED, "environ_overrides": {"REMOTE_ADDR": address}}
    answer = files.api.call("POST", f"{files.url}/links", **asked)
    assert answer.status_code == 200, answer.json
    return str(answer.json["url"])


def test_a_link_leads_to_the_address_that_a_trusted_proxy_was_asked_for(files: Files) -> None:
    assert asked_by(files, PROXY).startswith("https://files.example.com/links/")
    assert asked_by(files, STRANGER).startswith("http://inner:8070/links/"), "anybody may send such headers"


def test_a_link_leads_to_where_clients_reach_the_host(files: Files, offered: Services, node: Node) -> None:
    offered.nodes.announce(replace(node, files_public_url="https://one.example.com/files/", last_seen=time.time()))
    assert asked_by(files, PROXY).startswith("https://one.example.com/files/links/")
    answer = files.get("download", path="a", direct=1)
    assert answer.status_code == 307
    assert answer.headers["Location"].startswith("https://one.example.com/files/links/")


def may_be_read(answer: TestResponse) -> bool:
    """Whether a browser shows this answer to the page that asked, with what it needs to go on with a download."""
    exposed = answer.headers.get("Access-Control-Expose-Headers", "")
    return answer.headers.get("Access-Control-Allow-Origin") == "*" and {"ETag", "Content-Range"} <= set(
        exposed.split(", ")
    )


def test_pages_of_other_origins_upload_and_download_by_link(files: Files, application: Flask) -> None:
    client, browser = application.test_client(), {"Origin": PAGE}
    paths = [
        files.post("links", {"path": "a", "action": action}).json["url"].removeprefix("http://localhost")
        for action in ("upload", "download")
    ]
    question = {**browser, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    allowed = client.options(paths[0], headers=question)
    assert allowed.status_code == 200 and may_be_read(allowed)
    assert "PUT" in allowed.headers["Access-Control-Allow-Methods"]
    assert "Content-Type" in allowed.headers["Access-Control-Allow-Headers"]
    uploaded = client.put(paths[0], data=b"hello", headers={**browser, "Content-Type": "text/plain"})
    downloaded = client.get(paths[1], headers={**browser, "Range": "bytes=1-"})
    refused = client.get(paths[0], headers=browser)
    assert [answer.status_code for answer in (uploaded, downloaded, refused)] == [200, 206, 403]
    assert all(map(may_be_read, (uploaded, downloaded, refused)))
    assert downloaded.data == b"ello"


def test_pages_of_other_origins_get_nothing_else(files: Files) -> None:
    link = files.api.call(
        "POST", f"{files.url}/links", json={"path": "a", "action": "download"}, headers={"Origin": PAGE}
    )
    for answer in (link, files.api.get(files.url, headers={"Origin": PAGE})):
        assert answer.status_code == 200
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control-")]
