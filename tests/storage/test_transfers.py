"""Downloads and uploads through the running files process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import quote

import pytest

from fleet.links import Link, sign_link
from storage.archives import decompress
from storage.beneath import opened_root
from tests.storage.conftest import OWNER, VOLUME_ID
from tests.storage.files_process import FilesProcess
from tests.support.deadline import eventually

BASE = f"/volumes/{VOLUME_ID}"
MEBIBYTE = 1024 * 1024


@pytest.fixture
def volume(served_folder: Path) -> Path:
    """The folder of the volume that is served."""
    return served_folder


def memory_kb(files_process: FilesProcess) -> int:
    """The highest resident memory of the serving process so far."""
    parent = files_process.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    status = Path(f"/proc/{children[0]}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


@pytest.mark.parametrize(
    ("header", "status", "start", "end"),
    [
        (None, 200, 0, 1000),
        ("bytes=0-9", 206, 0, 10),
        ("bytes=990-", 206, 990, 1000),
        ("bytes=-10", 206, 990, 1000),
        ("bytes=-5000", 206, 0, 1000),
        ("bytes=10-99999", 206, 10, 1000),
        ("bytes=1000-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        ("bytes=9-3", 200, 0, 1000),
        ("bytes=0-1,3-4", 200, 0, 1000),
        ("lines=1-2", 200, 0, 1000),
        ("bytes=" + "9" * 400 + "-", 200, 0, 1000),
        ("bytes=-", 200, 0, 1000),
    ],
)
def test_a_download_gives_the_part_that_was_asked_for(
    files_process: FilesProcess, volume: Path, header: str | None, status: int, start: int, end: int
) -> None:
    content = os.urandom(1000)
    (volume / "a.bin").write_bytes(content)
    answer = files_process.call("GET", BASE + "/download?path=a.bin", headers={"Range": header} if header else {})
    assert (answer.status, answer.data) == (status, content[start:end])
    assert answer.headers["Accept-Ranges"] == "bytes"
    if status == 206:
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/1000"
    if status == 416:
        assert answer.headers["Content-Range"] == "bytes */1000"


def test_a_download_can_be_resumed_only_while_the_file_is_the_same(files_process: FilesProcess, volume: Path) -> None:
    (volume / "a").write_bytes(b"0123456789")
    tag = files_process.call("GET", BASE + "/download?path=a").headers["ETag"]
    resume = {"Range": "bytes=5-", "If-Range": tag}
    assert files_process.call("GET", BASE + "/download?path=a", headers=resume).data == b"56789"
    before = (volume / "a").stat()
    (volume / "a").write_bytes(b"abcdefghij")
    os.utime(volume / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    again = files_process.call("GET", BASE + "/download?path=a", headers=resume)
    assert (again.status, again.data) == (200, b"abcdefghij")


@pytest.mark.parametrize("name", ["a b.txt", 'quote".txt', "new\r\nSet-Cookie: x", "ünï.txt", "\udcff.bin", "\x01\x7f"])
def test_a_name_never_breaks_out_of_the_headers(files_process: FilesProcess, volume: Path, name: str) -> None:
    (volume / name).write_bytes(b"x")
    spelled = quote(name.encode("utf-8", "surrogateescape"))
    answer = files_process.call("GET", BASE + "/download?path=" + spelled)
    assert (answer.status, answer.data) == (200, b"x")
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="')


def test_folders_fifos_and_links_out_are_not_downloaded_as_files(files_process: FilesProcess, volume: Path) -> None:
    os.mkfifo(volume / "pipe")
    (volume / "out").symlink_to("/etc/passwd")
    assert files_process.call("GET", BASE + "/download?path=pipe").status == 409
    assert files_process.call("GET", BASE + "/download?path=out").status == 400
    assert files_process.call("GET", BASE + "/download?path=missing").status == 404
    assert files_process.call("GET", BASE + "/download?path=..").status == 400


def test_an_upload_appears_whole(files_process: FilesProcess, volume: Path) -> None:
    content = os.urandom(3 * MEBIBYTE + 17)
    answer = files_process.call("PUT", BASE + "/upload?path=new/a.bin", raw=content)
    assert answer.json == {"message": "File uploaded successfully", "path": "new/a.bin", "size": len(content)}
    assert (volume / "new/a.bin").read_bytes() == content
    assert (volume / "new/a.bin").stat().st_uid == OWNER[0]
    assert files_process.call("PUT", BASE + "/upload?path=new/a.bin&overwrite=false", raw=b"x").status == 409
    assert files_process.call("PUT", BASE + "/upload?path=empty", raw=b"").json["size"] == 0


def test_an_upload_of_unknown_length_works(files_process: FilesProcess, volume: Path) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(50):
            yield b"x" * 10_000

    assert files_process.call("PUT", BASE + "/upload?path=a", raw=pieces()).json["size"] == 500_000
    assert (volume / "a").stat().st_size == 500_000


def test_an_upload_that_breaks_off_leaves_the_old_file(files_process: FilesProcess, volume: Path) -> None:
    (volume / "a").write_bytes(b"old")
    target = BASE + "/upload?path=a"
    before = files_process.log.read_text().count("status=400")
    for length in ("Content-Length", "Transfer-Encoding"):
        connection = files_process.connection()
        connection.putrequest("PUT", target)
        connection.putheader("Authorization", files_process.signature("PUT", target))
        connection.putheader(length, "1000000" if length == "Content-Length" else "chunked")
        connection.endheaders()
        connection.send(b"40000\r\n" + b"x" * 200_000)
        connection.close()
    eventually(
        lambda: files_process.log.read_text().count("status=400") == before + 2, within_seconds=10, what="both cut off"
    )
    assert os.listdir(volume) == ["a"] and (volume / "a").read_bytes() == b"old"


def test_an_upload_that_does_not_fit_leaves_nothing(files_process: FilesProcess, volume: Path) -> None:
    answer = files_process.call("PUT", BASE + "/upload?path=a", raw=b"x" * (80 * MEBIBYTE))
    assert (answer.status, answer.json["code"]) == (413, "quota_exceeded")
    assert os.listdir(volume) == []


def test_memory_stays_the_same_whatever_the_size(files_process: FilesProcess, volume: Path) -> None:
    files_process.call("PUT", BASE + "/upload?path=a", raw=b"x" * MEBIBYTE)
    before_kb = memory_kb(files_process)
    content = b"x" * (50 * MEBIBYTE)
    assert files_process.call("PUT", BASE + "/upload?path=a", raw=content).status == 200
    assert files_process.call("GET", BASE + "/download?path=a").data == content
    assert memory_kb(files_process) - before_kb < 20_000


@pytest.mark.parametrize(("query", "name"), [("", "world.tar.gz"), ("&format=zip", "world.zip")])
def test_a_folder_is_downloaded_as_an_archive(files_process: FilesProcess, volume: Path, query: str, name: str) -> None:
    (volume / "world").mkdir()
    (volume / "world/level.dat").write_bytes(os.urandom(100_000))
    answer = files_process.call("GET", BASE + "/download?path=world" + query)
    assert answer.status == 200 and f'filename="{name}"' in answer.headers["Content-Disposition"]
    (volume / "archive").write_bytes(answer.data)
    with opened_root(volume, OWNER) as root:
        decompress(root, b"archive", b"out")
    assert (volume / "out/world/level.dat").read_bytes() == (volume / "world/level.dat").read_bytes()
    assert files_process.call("GET", BASE + "/download?path=&format=zip").data.startswith(b"PK")
    assert files_process.call("GET", BASE + "/download?path=world&format=rar").status == 400


def test_a_client_that_leaves_a_folder_download_leaves_nothing_open(files_process: FilesProcess, volume: Path) -> None:
    (volume / "world").mkdir()
    (volume / "world/noise").write_bytes(os.urandom(30 * MEBIBYTE))
    target = BASE + "/download?path=world"
    for _ in range(5):
        connection = files_process.connection()
        connection.request("GET", target, headers={"Authorization": files_process.signature("GET", target)})
        assert connection.getresponse().read(1000)
        connection.close()

    def nothing_open() -> bool:
        return not any(str(volume) in path for path in opened_by(files_process))

    eventually(nothing_open, within_seconds=10, what="letting go of the volume")


def opened_by(files_process: FilesProcess) -> list[str]:
    """What the serving process has open, pipes among it."""
    parent = files_process.process.pid
    child = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0]
    return [os.path.realpath(f"/proc/{child}/fd/{fd}") for fd in os.listdir(f"/proc/{child}/fd")]


def test_the_head_of_a_folder_download_leaves_nothing_open(files_process: FilesProcess, volume: Path) -> None:
    (volume / "world").mkdir()
    target = BASE + "/download?path=world"
    assert files_process.call("HEAD", target).data == b""
    before = len([path for path in opened_by(files_process) if "pipe:" in path])
    for _ in range(5):
        answer = files_process.call("HEAD", target)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/octet-stream")
    eventually(
        lambda: (
            not any(str(volume) in path for path in opened_by(files_process))
            and len([path for path in opened_by(files_process) if "pipe:" in path]) == before
        ),
        within_seconds=10,
        what="letting go of the volume",
    )


def test_many_downloads_that_stand_still_keep_nobody_waiting(files_process: FilesProcess, volume: Path) -> None:
    with (volume / "large").open("wb") as file:
        file.truncate(30 * MEBIBYTE)
    target = BASE + "/download?path=large"
    with ExitStack() as held:
        for _ in range(40):
            connection = held.enter_context(closing(files_process.connection()))
            connection.request("GET", target, headers={"Authorization": files_process.signature("GET", target)})
            held.enter_context(connection.getresponse())
        assert files_process.call("GET", BASE + "/files").json["files"][0]["name"] == "large"


def token(files_process: FilesProcess, action: str, ttl_seconds: int = 60, **changes: str) -> str:
    fields = {"node": "node-a", "volume_id": VOLUME_ID, "path": "dir/a.bin", **changes}
    link = Link(action=action, expires_at=int(time.time()) + ttl_seconds, **fields)
    return sign_link(files_process.settings.signing_key(), link)


def test_a_link_works_without_any_header(files_process: FilesProcess, volume: Path) -> None:
    plain = {"Authorization": ""}
    upload = files_process.call("PUT", "/links/" + token(files_process, "upload"), raw=b"by link", headers=plain)
    assert upload.json["path"] == "dir/a.bin"
    assert (volume / "dir/a.bin").read_bytes() == b"by link"
    download = files_process.call("GET", "/links/" + token(files_process, "download"), headers=plain)
    assert download.data == b"by link"
    part = {**plain, "Range": "bytes=3-"}
    assert files_process.call("GET", "/links/" + token(files_process, "download"), headers=part).data == b"link"


def test_a_link_opens_nothing_else_and_not_for_long(files_process: FilesProcess, volume: Path) -> None:
    good = token(files_process, "download")
    for bad in (
        good[:-2] + ("A" if good[-2] != "A" else "B") + good[-1],  # some bits of the last one stand for nothing
        "x" + good,
        "nonsense",
        token(files_process, "upload"),
        token(files_process, "download", ttl_seconds=-1),
        token(files_process, "download", node="node-b"),
        sign_link("another key", Link("node-a", VOLUME_ID, "a", "download", 2**40)),
    ):
        assert files_process.call("GET", "/links/" + bad, headers={"Authorization": ""}).status == 403
    escape = token(files_process, "download", path="../../secret")
    assert files_process.call("GET", "/links/" + escape, headers={"Authorization": ""}).status == 400
    assert good not in files_process.log.read_text()
