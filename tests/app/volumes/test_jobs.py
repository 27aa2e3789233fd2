"""Archives and pulls: jobs that the API waits for, and that leave nothing when they end badly."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from app.services import Services
from app.volumes import archives
from fleet.models import Job
from fleet.repositories.jobs import new_job
from fleet.settings import Settings
from tests.app.conftest import NODE, Api
from tests.app.volumes.conftest import Files
from tests.app.volumes.queue import Queue
from tests.support.deadline import eventually
from worker.operations.archives import compress_files

TRAVERSAL = "Invalid path: path traversal detected"
FORMATS = ["zip", "tar", "tar.gz", "tar.bz2", "tar.zst"]


@pytest.fixture
def queue(settings: Settings) -> Iterator[Queue]:
    """A worker; it may pull from this machine."""
    queue = Queue(replace(settings, pull_private=True))
    yield queue
    queue.close()


@pytest.fixture
def dispatched(queue: Queue) -> Queue:
    """Where the API enqueues."""
    return queue


class Web:
    """A web server that answers `content`, and waits in its middle while `paused`."""

    def __init__(self) -> None:
        self.content = os.urandom(400_000)
        self.asked = threading.Event()
        self.released = threading.Event()
        self.released.set()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.set()
                self.send_response(200 if self.path == "/a" else 404)
                self.send_header("Content-Length", str(len(web.content)))
                self.end_headers()
                self.wfile.write(web.content[:200_000])
                web.released.wait(60)
                self.wfile.write(web.content[200_000:])

            def log_message(self, *_: object) -> None:
                """Keep the tests' output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/a"

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server."""
    web = Web()
    yield web
    web.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API waits for nothing."""
    monkeypatch.setattr(archives, "_PATIENCE_SECONDS", 0.05)


@pytest.fixture
def pulling(files: Files, web: Web, impatient: None) -> Iterator[str]:
    """A pull that stands still in its middle."""
    web.released.clear()
    answer = files.post("pull", {"url": web.url, "path": "a.jar"})
    assert (answer.status_code, answer.json["state"]) == (202, "running")
    assert web.asked.wait(60)
    yield answer.json["job_id"]
    web.released.set()


def ended(api: Api, job_id: str) -> dict[str, Any]:
    """A job once it has ended."""

    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = api.get(f"/jobs/{job_id}").json
        return job if job["finished_at"] else None

    return eventually(look, within_seconds=15, what="the end of a job") or {}


@pytest.mark.parametrize("archive_format", FORMATS)
def test_what_is_packed_comes_out_again(files: Files, archive_format: str) -> None:
    (files.folder / "d").mkdir()
    (files.folder / "d/a.txt").write_text("hello" * 1000)
    answer = files.post("compress", {"format": archive_format, "output_name": "backup"})
    archive = files.folder / f"backup.{archive_format}"
    expected = {"message": "Compression successful", "archive_path": archive.name, "size": archive.stat().st_size}
    assert (answer.status_code, answer.json) == (200, expected)
    answer = files.post("decompress", {"archive_path": archive.name, "destination": "out"})
    expected = {"message": "Decompression successful", "destination": "out", "files": 1, "bytes": 5000}
    assert (answer.status_code, answer.json) == (200, expected)
    assert (files.folder / "out/d/a.txt").read_text() == "hello" * 1000


def test_only_what_is_named_is_packed(files: Files) -> None:
    for name in ("a", "b", "c"):
        (files.folder / name).write_text(name)
    body = {"format": "zip", "output_name": "two.zip", "paths": ["a", "c"], "destination": "backups"}
    assert files.post("compress", body).json["archive_path"] == "backups/two.zip"
    assert zipfile.ZipFile(files.folder / "backups/two.zip").namelist() == ["a", "c"]


def test_an_existing_archive_is_not_packed_over(files: Files) -> None:
    (files.folder / "backup.tar").write_text("precious")
    answer = files.post("compress", {"format": "tar", "output_name": "backup"})
    assert (answer.status_code, answer.json["code"]) == (409, "already_exists")
    assert (files.folder / "backup.tar").read_text() == "precious"


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("compress", {"format": "zip", "output_name": "../x"}),
        ("compress", {"format": "zip", "output_name": "x", "destination": "/etc"}),
        ("compress", {"format": "zip", "output_name": "x", "paths": ["a", "../b"]}),
        ("decompress", {"archive_path": "../x", "destination": "d"}),
        ("decompress", {"archive_path": "x", "destination": "../d"}),
        ("pull", {"url": "http://127.0.0.1/", "path": "/etc/passwd"}),
    ],
)
def test_no_path_leaves_the_volume(files: Files, call: str, body: dict[str, Any]) -> None:
    answer = files.post(call, body)
    assert (answer.status_code, answer.json["error"]) == (400, TRAVERSAL)


@pytest.mark.parametrize(
    ("call", "body", "field"),
    [
        ("compress", {"format": "rar"}, "format"),
        ("compress", {"paths": []}, "paths"),
        ("compress", {"paths": "a"}, "paths"),
        ("decompress", {"destination": "d"}, "archive_path"),
        ("pull", {"path": "a"}, "url"),
        ("pull", {"path": "a", "url": "ftp://example.org/a"}, "url"),
    ],
)
def test_a_bad_body_names_the_field(files: Files, call: str, body: dict[str, Any], field: str) -> None:
    answer = files.post(call, body)
    assert (answer.status_code, list(answer.json["fields"])) == (400, [field])


def test_a_missing_archive_is_404_and_the_job_says_why(files: Files, offered: Services) -> None:
    answer = files.post("decompress", {"archive_path": "gone.zip"})
    assert answer.status_code == 404
    assert "gone.zip" in answer.json["error"]


def test_an_archive_that_would_leave_the_volume_is_refused_whole(files: Files) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("fine"))
        archive.addfile(tarfile.TarInfo("../escape"))
    (files.folder / "evil.tar").write_bytes(packed.getvalue())
    assert files.post("decompress", {"archive_path": "evil.tar", "destination": "d"}).status_code == 400
    assert [path.name for path in files.folder.iterdir()] == ["evil.tar"]


def test_an_archive_past_the_volume_is_413_and_leaves_nothing(files: Files) -> None:
    (files.folder / "noise").write_bytes(os.urandom(20 * 1024**2))
    answer = files.post("compress", {"format": "tar", "output_name": "big"})
    assert (answer.status_code, answer.json["code"]) == (413, "quota_exceeded")
    assert [path.name for path in files.folder.iterdir()] == ["noise"]


def test_a_file_is_pulled(files: Files, web: Web) -> None:
    answer = files.post("pull", {"url": web.url, "path": "mods/a.jar"})
    assert answer.json == {"message": "File pulled successfully", "path": "mods/a.jar", "size": len(web.content)}
    assert (files.folder / "mods/a.jar").read_bytes() == web.content


def test_a_pull_from_a_private_address_is_forbidden_unless_allowed(files: Files, web: Web, queue: Queue) -> None:
    queue.host = replace(queue.host, settings=replace(queue.settings, pull_private=False))
    answer = files.post("pull", {"url": web.url, "path": "a"})
    assert answer.status_code == 403
    assert not web.asked.is_set()


def test_a_pull_of_what_is_not_there_says_so(files: Files, web: Web) -> None:
    answer = files.post("pull", {"url": web.url + "/missing", "path": "a"})
    assert (answer.status_code, answer.json["code"]) == (400, "pull_failed")
    assert list(files.folder.iterdir()) == []


def test_what_takes_long_is_followed_as_a_job(files: Files, web: Web, pulling: str) -> None:
    job = files.api.get(f"/jobs/{pulling}").json
    assert (job["kind"], job["volume_id"], job["state"]) == ("pull", files.volume_id, "running")
    assert not (files.folder / "a.jar").exists()
    web.released.set()
    job = ended(files.api, pulling)
    assert (job["state"], job["progress"], job["result"]["size"]) == ("done", 1, len(web.content))


def test_a_volume_has_one_job_at_a_time_and_is_not_deleted_under_it(files: Files, web: Web, pulling: str) -> None:
    for answer in (
        files.post("compress", {"format": "tar", "output_name": "b"}),
        files.api.delete(files.url),
    ):
        assert (answer.status_code, answer.json["code"]) == (409, "volume_busy")
        assert pulling in answer.json["error"]
    assert files.api.get(files.url).status_code == 200
    web.released.set()
    assert ended(files.api, pulling)["state"] == "done"


def test_files_are_written_while_a_job_runs(files: Files, web: Web, pulling: str) -> None:
    assert files.post("files", {"path": "b", "content": "x"}).status_code == 200


def test_a_cancelled_pull_leaves_nothing(files: Files, web: Web, pulling: str) -> None:
    assert files.api.post(f"/jobs/{pulling}/cancel").status_code == 200
    web.released.set()
    job = ended(files.api, pulling)
    assert (job["state"], job["error"]) == ("cancelled", "It was cancelled; nothing of it was kept.")
    assert list(files.folder.iterdir()) == []
    again = files.api.post(f"/jobs/{pulling}/cancel")
    assert (again.status_code, again.json["code"]) == (409, "job_ended")


def test_a_cancelled_archive_leaves_nothing(files: Files, queue: Queue, impatient: None) -> None:
    queue.held = True
    (files.folder / "noise").write_bytes(os.urandom(8 * 1024**2))
    job_id = files.post("compress", {"format": "tar.bz2", "output_name": "b"}).json["job_id"]
    claim = queue.host.jobs.claim

    def claimed_and_cancelled(job_id: str, worker: str) -> Job:
        job = claim(job_id, worker)
        assert files.api.post(f"/jobs/{job_id}/cancel").status_code == 200
        return job

    queue.host.jobs.claim = claimed_and_cancelled  # type: ignore[method-assign]
    queue.run(job_id)
    assert ended(files.api, job_id)["state"] == "cancelled"
    assert [path.name for path in files.folder.iterdir()] == ["noise"]


def test_a_job_that_nobody_has_begun_is_cancelled_at_once(files: Files, queue: Queue, impatient: None) -> None:
    queue.held = True
    job_id = files.post("compress", {"format": "tar", "output_name": "b"}).json["job_id"]
    assert files.api.post(f"/jobs/{job_id}/cancel").json["state"] == "cancelled"
    queue.run(job_id)
    queue.close()
    assert list(files.folder.iterdir()) == []


def test_who_waits_for_a_job_that_is_cancelled_is_told(files: Files, queue: Queue, offered: Services) -> None:
    queue.instead = lambda job: offered.jobs.cancel(job.job_id)
    answer = files.post("compress", {"format": "tar", "output_name": "b"})
    assert (answer.status_code, answer.json["code"]) == (409, "cancelled")


@pytest.mark.parametrize("kind", ["start", "stop", "delete", "kill"])
def test_other_jobs_cannot_be_cancelled(api: Api, offered: Services, files: Files, kind: str) -> None:
    job = new_job(kind, NODE, "quick", volume_id=files.volume_id)
    offered.jobs.open_on_volume(job)
    answer = api.post(f"/jobs/{job.job_id}/cancel")
    assert (answer.status_code, answer.json["code"]) == (409, "not_cancellable")
    offered.jobs.finish(job, "done")


def test_an_unknown_job_cannot_be_cancelled(api: Api) -> None:
    assert api.post("/jobs/nope/cancel").status_code == 404


Death = Callable[[Files, Queue, Job], None]


def leaves_a_half_unpacked_tree(files: Files, queue: Queue, job: Job) -> None:
    (files.folder / ".lightd-0123456789abcdef/tree").mkdir(parents=True)


def leaves_the_archive_finished(files: Files, queue: Queue, job: Job) -> None:
    with queue.host.volumes.opened_alone(files.volume_id) as root:
        compress_files(root, job, lambda *_: None, queue.host)


@pytest.mark.parametrize("death", [leaves_a_half_unpacked_tree, leaves_the_archive_finished])
def test_a_job_whose_worker_died_is_done_again(files: Files, queue: Queue, impatient: None, death: Death) -> None:
    queue.held = True
    (files.folder / "a").write_text("x")
    job_id = files.post("compress", {"format": "tar", "output_name": "b"}).json["job_id"]
    death(files, queue, queue.host.jobs.claim(job_id, "a worker that dies now"))
    queue.run(job_id)
    job = ended(files.api, job_id)
    assert job["state"] == "done", job
    assert sorted(path.name for path in files.folder.iterdir()) == ["a", "b.tar"]
    assert job["result"]["size"] == (files.folder / "b.tar").stat().st_size


def leaves_nothing(files: Files, queue: Queue, job: Job) -> None:
    """It died before its archive was complete."""


@pytest.mark.parametrize("death", [leaves_nothing, leaves_the_archive_finished])
def test_a_containers_own_file_is_never_taken_for_the_archive_of_a_worker_that_died(
    files: Files, queue: Queue, impatient: None, death: Death
) -> None:
    queue.held = True
    (files.folder / "a").write_text("x")
    job_id = files.post("compress", {"format": "tar", "output_name": "b"}).json["job_id"]
    death(files, queue, queue.host.jobs.claim(job_id, "a worker that dies now"))
    (files.folder / "its own").write_text("precious")
    (files.folder / "its own").replace(files.folder / "b.tar")
    queue.run(job_id)
    job = ended(files.api, job_id)
    assert (job["state"], job["error"]) == ("failed", "File already exists at path: b.tar")
    assert (files.folder / "b.tar").read_text() == "precious"


def test_a_second_delivery_of_a_running_job_steps_aside(files: Files, web: Web, pulling: str, queue: Queue) -> None:
    queue.run(pulling)
    queue.threads[-1].join(60)
    assert not queue.threads[-1].is_alive()
    web.released.set()
    assert ended(files.api, pulling)["state"] == "done"


def test_watchers_of_all_containers_on_the_volume_are_told_how_far_it_is(
    api: Api, files: Files, queue: Queue, offered: Services
) -> None:
    queue.instead = lambda _: None
    body = {"image": "busybox", "volume_id": files.volume_id, "startup_command": "./run"}
    for name in ("a", "b"):
        assert api.post("/containers", {**body, "internal_id": name}).status_code == 200
    queue.instead = None
    (files.folder / "world").write_bytes(os.urandom(100_000))
    assert files.post("compress", {"format": "zip", "output_name": "backup"}).status_code == 200
    for name in ("a", "b"):
        told = [json.loads(text) for _, text in offered.containers.feed(name)]
        progress = [event for event in told if event["event"] == "progress"]
        assert progress
        assert {event["step"] for event in progress} == {"compress"}
        assert progress[-1]["progress"] == 1.0
        assert api.get(f"/jobs/{progress[-1]['job_id']}").json["kind"] == "compress"
    for name in ("a", "b"):  # so that the volume can be deleted
        job = offered.jobs.claim(offered.containers.get(name).job_id or "", "worker")
        offered.containers.remove(name, job)
