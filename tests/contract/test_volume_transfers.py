"""Bytes of any size in and out of volumes, archives, and jobs on them, through the whole system."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.support.answers import Answer, accepted, refused
from tests.support.deadline import eventually
from tests.support.servers import Servers
from tests.support.stack import VENDOR_TYPE, Stack

pytestmark = pytest.mark.engine

MIB = 1024**2
BIG_BYTES = 192 * MIB
MOST_MEMORY_BYTES = 64 * MIB


@pytest.fixture
def volume(servers: Servers) -> str:
    return str(servers.volume(size_mb=256)["volume_id"])


def folder(stack: Stack, volume: str) -> Path:
    return Path(accepted(stack.api("GET", f"/volumes/{volume}"))["path"])


def visible(stack: Stack, volume: str) -> list[str]:
    return sorted(path.name for path in folder(stack, volume).iterdir() if path.name != "lost+found")


def pieces(seed: bytes, size: int = BIG_BYTES) -> Iterator[bytes]:
    for number in range(size // MIB):
        yield hashlib.sha256(seed + number.to_bytes(4, "big")).digest() * (MIB // 32)


def peak_bytes(stack: Stack) -> int:
    """The most memory that one of the API's processes ever had, without what it shares with others."""
    parent = stack.pid("api")
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return max(_peak(int(child)) for child in children)


def _peak(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_a_large_file_goes_in_and_out_in_constant_memory(stack: Stack, volume: str, tmp_path: Path) -> None:
    before = peak_bytes(stack)
    expected, large = hashlib.sha256(), tmp_path / "large"
    with large.open("wb") as file:
        for piece in pieces(b"in"):
            expected.update(piece)
            file.write(piece)
    with large.open("rb") as file:
        told = accepted(stack.api("PUT", f"/volumes/{volume}/upload?path=world.dat", data=file))
    large.unlink()
    assert told["size"] == BIG_BYTES
    came = hashlib.sha256()
    with stack.api("GET", f"/volumes/{volume}/download?path=world.dat", stream=True) as answer:
        assert answer.headers["Content-Length"] == str(BIG_BYTES)
        for piece in answer.iter_content(MIB):
            came.update(piece)
    assert came.digest() == expected.digest()
    assert peak_bytes(stack) - before < MOST_MEMORY_BYTES


def test_an_upload_of_unknown_length_is_taken(stack: Stack, volume: str) -> None:
    told = accepted(stack.api("PUT", f"/volumes/{volume}/upload?path=a", data=pieces(b"c", 3 * MIB)))
    assert told["size"] == 3 * MIB


def test_a_download_goes_on_where_it_broke_off(stack: Stack, volume: str) -> None:
    data = os.urandom(MIB)
    accepted(stack.api("PUT", f"/volumes/{volume}/upload?path=a", data=data))
    rest = stack.api("GET", f"/volumes/{volume}/download?path=a", headers={"Range": "bytes=1000-"})
    assert (rest.status_code, rest.content) == (206, data[1000:])


def test_an_upload_past_the_volume_is_413_and_leaves_nothing(stack: Stack, servers: Servers) -> None:
    small = str(servers.volume(size_mb=16)["volume_id"])
    answer = stack.api("PUT", f"/volumes/{small}/upload?path=big", data=bytes(32 * MIB))
    assert refused(answer, 413)["code"] == "quota_exceeded"
    assert visible(stack, small) == []


def test_an_upload_that_is_cut_off_leaves_the_old_file(stack: Stack, volume: str) -> None:
    accepted(stack.api("PUT", f"/volumes/{volume}/upload?path=a", data=b"old"))
    head = (
        f"PUT /volumes/{volume}/upload?path=a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.token}\r\n"
        f"Accept: {VENDOR_TYPE}\r\nContent-Length: 1000000\r\n\r\n"
    )
    host, _, port = stack.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.encode() + b"half of it")
        connection.shutdown(socket.SHUT_WR)
        told = connection.makefile("rb").read()
    assert b" 400 " in told.split(b"\r\n", 1)[0]
    assert b"cut_off" in told
    assert (folder(stack, volume) / "a").read_text() == "old"
    assert visible(stack, volume) == ["a"]


@pytest.mark.long
@pytest.mark.timeout(400)
def test_transfers_whose_clients_stand_still_are_ended(stack: Stack, volume: str) -> None:
    accepted(stack.api("PUT", f"/volumes/{volume}/upload?path=large", data=bytes(64 * MIB)))
    held = f"\r\nHost: x\r\nAuthorization: Bearer {stack.token}\r\nAccept: {VENDOR_TYPE}\r\n"
    host, _, port = stack.address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=600) as taking,
        socket.create_connection((host, int(port)), timeout=600) as sending,
    ):
        taking.sendall(f"GET /volumes/{volume}/download?path=large HTTP/1.1{held}\r\n".encode())
        taken = len(taking.recv(1))
        sending.sendall(f"PUT /volumes/{volume}/upload?path=a HTTP/1.1{held}Content-Length: 100000\r\n\r\nx".encode())
        told = sending.makefile("rb").read()
        assert b"cut_off" in told
        assert visible(stack, volume) == ["large"]
        with suppress(ConnectionResetError):
            while piece := taking.recv(MIB):
                taken += len(piece)
        assert taken < 64 * MIB


def test_links_work_without_headers_and_end_with_their_time(stack: Stack, volume: str) -> None:
    def link(**wanted: str) -> str:
        return str(accepted(stack.api("POST", f"/volumes/{volume}/links", json={"path": "a", **wanted}))["url"])

    assert requests.put(link(action="upload"), data=b"hello", timeout=60).status_code == 200
    assert requests.get(link(action="download"), timeout=60).content == b"hello"
    short = link(action="download", ttl="1s")
    eventually(lambda: requests.get(short, timeout=60).status_code == 403, within_seconds=5, what="its end")


def test_direct_transfers_work_where_the_host_has_no_address(stack: Stack, volume: str) -> None:
    accepted(stack.api("PUT", f"/volumes/{volume}/upload?path=a&direct=1", data=b"hello"))
    assert stack.api("GET", f"/volumes/{volume}/download?path=a&direct=1").content == b"hello"


def test_a_backup_is_made_and_opened(stack: Stack, volume: str) -> None:
    accepted(stack.api("POST", f"/volumes/{volume}/files", json={"path": "plugins/a.yml", "content": "a: 1"}))
    made = accepted(
        stack.api("POST", f"/volumes/{volume}/compress", json={"format": "tar.gz", "output_name": "backup"})
    )
    assert made["message"] == "Compression successful"
    assert made["archive_path"] == "backup.tar.gz"
    assert made["size"] == (folder(stack, volume) / "backup.tar.gz").stat().st_size
    body = {"archive_path": "backup.tar.gz", "destination": "restored"}
    opened = accepted(stack.api("POST", f"/volumes/{volume}/decompress", json=body))
    assert opened == {"message": "Decompression successful", "destination": "restored", "files": 1, "bytes": 4}
    assert (folder(stack, volume) / "restored/plugins/a.yml").read_text() == "a: 1"
    assert (folder(stack, volume) / "restored/plugins/a.yml").stat().st_uid == 1000


def test_an_archive_whose_worker_is_killed_is_made_all_the_same(stack: Stack, volume: str) -> None:
    accepted(stack.api("PUT", f"/volumes/{volume}/upload?path=noise", data=os.urandom(24 * MIB)))
    body = {"format": "tar.bz2", "output_name": "b"}
    call = Answered(stack, f"/volumes/{volume}/compress", body)
    worker = stack.pid("long")
    eventually(lambda: holds_lock(stack, volume), within_seconds=10, what="the begin of the job")
    stack.kill("long")
    stack.wait_restarted("long", worker)
    answer = call.answer()
    job = accepted(answer, answer.status_code)
    if answer.status_code == 202:
        job = stack.wait_for_job(job["job_id"], 60)["result"]
    assert job["size"] == (folder(stack, volume) / "b.tar.bz2").stat().st_size
    assert visible(stack, volume) == ["b.tar.bz2", "noise"]


def holds_lock(stack: Stack, volume: str) -> bool:
    return (stack.data / f"run/locks/volume-job-{volume}.lock").exists()


class Answered:
    """A POST that is under way."""

    def __init__(self, stack: Stack, path: str, body: Answer) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(lambda: stack.api("POST", path, json=body))

    def answer(self) -> requests.Response:
        with self._pool:
            return self._future.result(60)


def test_an_install_is_cancelled(stack: Stack, servers: Servers) -> None:
    made = accepted(servers.ask(install_script="#!/bin/sh\necho begun\nsleep 600"))
    eventually(
        lambda: accepted(stack.api("GET", f"/jobs/{made['job_id']}"))["step"] == "install",
        within_seconds=20,
        what="the script",
    )
    accepted(stack.api("POST", f"/jobs/{made['job_id']}/cancel"))
    assert stack.wait_for_job(made["job_id"], 30)["state"] == "cancelled"
    record = servers.record(made["internal_id"])
    assert (record["state"], record["error"]) == ("failed", "It was cancelled; nothing of it was kept.")
    refused(stack.api("POST", f"/jobs/{made['job_id']}/cancel"), 409)
