"""`python -m bench.files_calls`: calls to a files process of its own, over its socket as the API makes them."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

from bench.figures import milliseconds, show
from storage.volumes.layout import image_path
from tests.storage.conftest import VOLUME_ID, host_settings
from tests.storage.files_process import FilesProcess, UnixConnection, running_files_process

BASE = f"/volumes/{VOLUME_ID}"
ENTRIES = 10_000
TRANSFER_MB = 400
ROUNDS = 15


def main() -> None:
    """Print one row for each kind of call."""
    for allocation in ("sparse", "full"):
        with (
            host_settings() as settings,
            running_files_process(replace(settings, volume_allocation=allocation)) as files,
        ):
            measure_making(files)
    with host_settings() as settings, running_files_process(settings) as files:
        files.call("POST", BASE, {"size_mb": 1024})
        folder = settings.data / "volumes" / VOLUME_ID / "many"
        folder.mkdir()
        for number in range(ENTRIES):
            (folder / f"file-{number}.txt").write_text("hello")
        connection = files.connection()
        measure_listing(files, connection)
        measure_writes(files, connection)
        measure_transfers(files, connection)
        connection.close()


def measure_making(files: FilesProcess) -> None:
    """Volumes of 1 GB, one after the other, and what an empty one of 10 GB takes."""
    made = []
    for _ in range(ROUNDS):
        started = time.monotonic()
        files.call("POST", BASE, {"size_mb": 1024})
        made.append(time.monotonic() - started)
        files.call("DELETE", BASE)
    allocation = files.settings.volume_allocation
    show(f"make a volume of 1 GB, {allocation}", milliseconds(made), "300 ms")
    if allocation == "sparse":
        files.call("POST", BASE, {"size_mb": 10 * 1024})
        os.sync()
        taken_bytes = image_path(files.settings, VOLUME_ID).stat().st_blocks * 512
        show("an empty sparse volume of 10 GB takes", f"{taken_bytes / 2**20:.1f} MB", "25 MB")


def measure_listing(files: FilesProcess, connection: UnixConnection) -> None:
    """A folder of 10,000 entries, plain and detailed, until the JSON is parsed."""
    for query, limit in (("", "120 ms"), ("&detailed=true", "600 ms")):
        samples = []
        for _ in range(ROUNDS):
            started = time.monotonic()
            listed = json.loads(call(files, connection, "GET", f"{BASE}/files?path=many{query}"))
            samples.append(time.monotonic() - started)
            assert len(listed["files"]) == ENTRIES
        show(f"list {ENTRIES} entries{query}", milliseconds(samples), limit)


def measure_writes(files: FilesProcess, connection: UnixConnection) -> None:
    """Files of 1 KB, one after the other."""
    samples = []
    for number in range(500):
        started = time.monotonic()
        call(files, connection, "POST", BASE + "/files", json.dumps({"path": f"w/{number}", "content": "x" * 1024}))
        samples.append(time.monotonic() - started)
    show("write 1 KB", milliseconds(samples), "12 ms")


def measure_transfers(files: FilesProcess, connection: UnixConnection) -> None:
    """One large file up and down again."""
    data = os.urandom(1024 * 1024) * TRANSFER_MB
    started = time.monotonic()
    call(files, connection, "PUT", BASE + "/upload?path=large", data)
    show("upload", f"{TRANSFER_MB / (time.monotonic() - started):.0f} MB/s", "150 MB/s")
    buffer = bytearray(1024 * 1024)
    target = BASE + "/download?path=large"
    started = time.monotonic()
    connection.request("GET", target, headers={"Authorization": files.signature("GET", target)})
    response = connection.getresponse()
    while response.readinto(buffer):
        continue
    show("download", f"{TRANSFER_MB / (time.monotonic() - started):.0f} MB/s", "150 MB/s")


def call(
    files: FilesProcess, connection: UnixConnection, method: str, target: str, body: bytes | str | None = None
) -> bytes:
    """One signed call on a connection that stays open."""
    connection.request(method, target, body, {"Authorization": files.signature(method, target)})
    response = connection.getresponse()
    data = response.read()
    assert response.status < 300, data
    return data


if __name__ == "__main__":
    main()
