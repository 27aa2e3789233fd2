"""Direct transfers: past the API, over TCP, to a host whose files process has an address of its own."""

from __future__ import annotations

import os
import select
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from app.services import Services
from app.volumes import transfers
from fleet.links import Link, sign_link
from fleet.settings import Settings
from tests.app.conftest import NODE
from tests.app.volumes.conftest import Files
from tests.storage.files_process import FilesProcess, running_files_process
from tests.support.ports import free_port

MIB = 1024 * 1024
SECONDS = 30


@pytest.fixture(scope="module")
def files_process(store_url: str) -> Iterator[FilesProcess]:
    """A host's files process that listens on TCP."""
    data = Path(tempfile.mkdtemp(prefix="lightd-app-"))
    url = f"http://127.0.0.1:{free_port()}"
    settings = Settings(
        data=data, redis_url=store_url, node=NODE, disk_floor_mb=16, volume_driver="directory", files_url=url
    )
    try:
        with running_files_process(settings) as process:
            yield process
    finally:
        shutil.rmtree(data)


@pytest.fixture
def content(files: Files) -> bytes:
    """The content of `world.dat`."""
    data = os.urandom(8 * MIB + 3)
    (files.folder / "world.dat").write_bytes(data)
    return data


def direct(files: Files, action: str, **query: str) -> str:
    """Where the API sends who asks for a direct download or upload."""
    asked = {"direct": "1", **query}
    answer = files.get("download", **asked) if action == "download" else files.put("upload", b"", **asked)
    assert answer.status_code == 307
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.headers["Location"]


def test_a_direct_download_comes_from_the_host_itself(
    files: Files, files_process: FilesProcess, content: bytes
) -> None:
    url = direct(files, "download", path="world.dat")
    assert url.startswith(files_process.settings.files_url + "/links/")
    answer = requests.get(url, timeout=SECONDS)
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["Content-Length"] == str(len(content))
    part = requests.get(url, headers={"Range": "bytes=-3"}, timeout=SECONDS)
    assert (part.status_code, part.content) == (206, content[-3:])


def test_a_cut_direct_download_goes_on_where_it_broke_off_while_the_file_is_the_same(
    files: Files, content: bytes
) -> None:
    with requests.get(direct(files, "download", path="world.dat"), stream=True, timeout=SECONDS) as cut:
        begun = cut.raw.read(3 * MIB)
    resume = {"Range": f"bytes={len(begun)}-", "If-Range": cut.headers["ETag"]}
    url = direct(files, "download", path="world.dat")  # the first link may have ended meanwhile
    rest = requests.get(url, headers=resume, timeout=SECONDS)
    assert (rest.status_code, begun + rest.content) == (206, content)
    (files.folder / "world.dat").write_bytes(b"another world")
    whole = requests.get(url, headers=resume, timeout=SECONDS)
    assert (whole.status_code, whole.content) == (200, b"another world")


def test_a_direct_upload_goes_to_the_host_itself(files: Files) -> None:
    data = os.urandom(2 * MIB + 5)
    told = requests.put(direct(files, "upload", path="mods/a.jar"), data=data, timeout=SECONDS)
    assert (told.status_code, told.json()["size"]) == (200, len(data))
    assert (files.folder / "mods/a.jar").read_bytes() == data
    keeping = direct(files, "upload", path="mods/a.jar", overwrite="false")
    assert requests.put(keeping, data=b"other", timeout=SECONDS).status_code == 409
    pieces = (bytes([number]) * 70_000 for number in range(20))
    assert requests.put(direct(files, "upload", path="b"), data=pieces, timeout=SECONDS).json()["size"] == 1_400_000


def test_a_direct_upload_past_the_volume_is_413_on_a_connection_that_goes_on(files: Files) -> None:
    with requests.Session() as session:
        told = session.put(direct(files, "upload", path="big"), data=bytes(40 * MIB), timeout=SECONDS)
        assert (told.status_code, told.json()["code"]) == (413, "quota_exceeded")
        assert session.put(direct(files, "upload", path="small"), data=b"x", timeout=SECONDS).status_code == 200
    assert os.listdir(files.folder) == ["small"]


def test_a_cut_direct_upload_leaves_the_old_file(files: Files) -> None:
    (files.folder / "a").write_text("old")
    parts = urlsplit(direct(files, "upload", path="a"))
    head = f"PUT {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 1000000\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=SECONDS) as connection:
        connection.sendall(head.encode() + b"half of it")
        connection.shutdown(socket.SHUT_WR)
        told = connection.makefile("rb").read()
    assert b" 400 " in told.split(b"\r\n", 1)[0] and b"cut_off" in told
    assert os.listdir(files.folder) == ["a"] and (files.folder / "a").read_text() == "old"


def test_a_part_of_a_file_is_not_taken_for_all_of_it(files: Files) -> None:
    (files.folder / "a").write_text("old")
    part = {"Content-Range": "bytes 100-102/103"}
    direct_one = requests.put(direct(files, "upload", path="a"), data=b"new", headers=part, timeout=SECONDS)
    through_api = files.api.put(f"{files.url}/upload?path=a", data=b"new", headers=part)
    assert (direct_one.status_code, direct_one.json()["code"]) == (400, "partial_upload")
    assert (through_api.status_code, through_api.json["code"]) == (400, "partial_upload")
    assert (files.folder / "a").read_text() == "old"


def test_what_follows_an_upload_on_its_connection_is_the_next_call(files: Files) -> None:
    parts = urlsplit(direct(files, "upload", path="a"))
    put = f"PUT {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    get = f"GET {urlsplit(direct(files, 'download', path='a')).path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=SECONDS) as connection:
        connection.sendall((put + get).encode())
        told = connection.makefile("rb").read()
    assert told.count(b"HTTP/1.1 200 OK") == 2 and told.endswith(b"\r\n\r\nhello")


def test_no_character_of_a_link_can_be_changed(files: Files, content: bytes) -> None:
    url = direct(files, "download", path="world.dat")
    base, _, token = url.rpartition("/")
    with requests.Session() as session:
        for place in range(0, len(token), 3):
            other = "A" if token[place] != "A" else "B"
            answer = session.get(f"{base}/{token[:place]}{other}{token[place + 1 :]}", timeout=SECONDS)
            # The last character carries bits that stand for nothing.
            assert answer.status_code == 403 or place == len(token) - 1
        assert session.put(url, data=b"x", timeout=SECONDS).status_code == 403
        assert session.get(direct(files, "upload", path="world.dat"), timeout=SECONDS).status_code == 403
    assert (files.folder / "world.dat").read_bytes() == content


def test_pages_of_other_origins_use_direct_links_and_read_why_one_is_refused(files: Files, content: bytes) -> None:
    url, page = direct(files, "upload", path="a"), {"Origin": "https://panel.example.com"}
    question = {**page, "Access-Control-Request-Method": "PUT"}
    for answer in (
        requests.options(url, headers=question, timeout=SECONDS),
        requests.put(url, data=b"x", headers=page, timeout=SECONDS),
        requests.get(direct(files, "download", path="world.dat"), headers=page, timeout=SECONDS),
    ):
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, "*")
    refused = requests.get(url, headers={**page, "X-Request-ID": "mine"}, timeout=SECONDS)
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (403, "*")
    assert refused.json()["request_id"] == "mine"


def test_a_direct_link_ends_with_its_time(
    files: Files, content: bytes, offered: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "_DIRECT_SECONDS", -1)
    answer = requests.get(direct(files, "download", path="world.dat"), timeout=SECONDS)
    assert (answer.status_code, answer.json()["code"]) == (403, "link_expired")
    later = Link(NODE, files.volume_id, "world.dat", "download", int(time.time()) + SECONDS)
    forged = sign_link(offered.settings.signing_key() + "x", later)
    base = answer.url.rpartition("/")[0]
    assert requests.get(f"{base}/{forged}", timeout=SECONDS).json()["code"] == "bad_link"


def test_on_its_own_address_a_host_takes_nothing_that_is_not_signed(
    files: Files, files_process: FilesProcess, content: bytes
) -> None:
    base = files_process.settings.files_url
    for method, path in (
        ("GET", f"{files.url}/download?path=world.dat"),
        ("PUT", f"{files.url}/upload?path=x"),
        ("GET", f"{files.url}/files"),
        ("DELETE", files.url),
        ("GET", f"/links/../{files.url}/files"),
    ):
        answer = requests.request(method, base + path, timeout=SECONDS)
        assert answer.status_code == 403, path
    assert os.listdir(files.folder) == ["world.dat"]


def test_a_client_that_leaves_finished_connections_open_keeps_nobody_waiting(
    files: Files, files_process: FilesProcess
) -> None:
    parts = urlsplit(files_process.settings.files_url)
    with ExitStack() as held:
        for _ in range(30):
            connection = socket.create_connection((parts.hostname, parts.port), timeout=SECONDS)
            held.enter_context(connection)
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert connection.makefile("rb").read().endswith(b'{"status":"ok"}\n')
        assert requests.get(f"{files_process.settings.files_url}/healthz", timeout=SECONDS).ok


@pytest.mark.long
def test_who_begins_requests_and_never_ends_them_holds_no_thread_for_long(
    files: Files, files_process: FilesProcess
) -> None:
    parts = urlsplit(files_process.settings.files_url)
    with ExitStack() as held:
        connections = []
        for _ in range(files_process.settings.files_threads + 8):
            connection = socket.create_connection((parts.hostname, parts.port), timeout=60)
            connections.append(held.enter_context(connection))
            connection.sendall(b"GET /healthz HT")
        trickling = connections[::2]
        deadline = time.monotonic() + 120
        while trickling and time.monotonic() < deadline:
            trickling = [connection for connection in trickling if still_takes(connection)]
            select.select(trickling, [], [], 0.5)
        assert not trickling
        assert all(map(is_ended, connections[1::2]))
        assert requests.get(f"{files_process.settings.files_url}/healthz", timeout=60).ok


def is_ended(connection: socket.socket) -> bool:
    """Whether the other side ends a connection; with a reset where it had not yet read all that came."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def still_takes(connection: socket.socket) -> bool:
    """Whether a connection is open and takes another byte of its endless head."""
    ready, _, _ = select.select([connection], [], [], 0)
    try:
        if ready and connection.recv(1) == b"":
            return False
        connection.sendall(b"x")
    except ConnectionError:
        return False
    return True
