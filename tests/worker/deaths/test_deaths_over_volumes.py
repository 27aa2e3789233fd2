"""A real worker process is killed at each step of every kind of job on a volume; the next ends it as if nothing was.

A step is a write into the record, where the journal is, or a change on the disk: a file made, renamed or removed.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fleet.models import Job, Volume
from fleet.repositories.jobs import JobRepository, new_job
from fleet.repositories.volumes import VolumeRepository
from fleet.settings import Settings
from fleet.store import Client, connect
from storage.volumes import Volumes, volume_path
from tests.agent.bench import new_settings
from tests.storage.killed import killed_at
from tests.worker.deaths.mortal import Fate
from worker.operations.compose import create_runner

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

_WORKERS = 4


class Trial:
    """A volume of its own for one death."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stores = connect(settings)
        self.jobs = JobRepository(self._stores.record, self._stores.blocking)
        self._volumes = VolumeRepository(self._stores.record)
        self.volume_id = str(uuid.uuid4())
        Volumes(settings).create(self.volume_id, 16)
        self.folder = volume_path(settings, self.volume_id)
        now = int(time.time())
        self._volumes.save(Volume(self.volume_id, settings.node, str(self.folder), 16, "directory", "ready", now, now))
        (self.folder / "out").mkdir()
        (self.folder / "out/kept").write_text("older")
        (self.folder / "out/one").write_text("older")

    def ask(self, kind: str, **arguments: Any) -> Job:
        """Ask for a job as the API does."""
        job = new_job(kind, self.settings.node, "long", volume_id=self.volume_id, arguments=arguments)
        self.jobs.open_on_volume(job)
        return job

    def outcome(self, job: Job) -> dict[str, Any]:
        """All that is there afterwards."""
        ended = self.jobs.get(job.job_id)
        paths = sorted(path for path in self.folder.rglob("*") if not path.is_dir())
        return {
            "job": (ended.state, ended.error, ended.result),
            "files": {str(path.relative_to(self.folder)): _content(path) for path in paths},
            "open jobs": self.jobs.open_count(self.settings.node),
        }

    def close(self) -> None:
        """Remove everything."""
        Volumes(self.settings).delete(self.volume_id)
        for client in (self._stores.record, self._stores.blocking, self._stores.stream, self._stores.stream_bytes):
            client.close()


def _content(path: Path) -> Any:
    if ".tar" in path.name:
        with tarfile.open(path) as archive:
            return sorted((member.name, member.size) for member in archive)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _tree(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "one").write_text("first" * 1000)
    (folder / "sub/two").write_text("second")
    (folder / "sub/three").symlink_to("two")


def compressed(trial: Trial, _: str) -> Job:
    _tree(trial.folder)
    return trial.ask("compress", format="tar", archive_path="made.tar", paths=["one", "sub"])


def decompressed(trial: Trial, _: str) -> Job:
    aside = trial.settings.data / "aside"
    aside.mkdir()
    _tree(aside)
    with tarfile.open(trial.folder / "given.tar.gz", "w:gz") as archive:
        archive.add(aside, ".")
    shutil.rmtree(aside)
    return trial.ask("decompress", archive_path="given.tar.gz", destination="out")


def pulled(trial: Trial, url: str) -> Job:
    return trial.ask("pull", url=url, path="out/one")


@dataclass(frozen=True)
class Case:
    """How a job is begun, and how many steps it has at least: in the record, on the disk."""

    begin: Callable[[Trial, str], Job]
    least: tuple[int, int]


JOBS = {"compress": Case(compressed, (4, 3)), "decompress": Case(decompressed, (3, 8)), "pull": Case(pulled, (3, 2))}


@pytest.fixture
def settings(store: Client, store_url: str, tmp_path: Path) -> Settings:
    """A host that may pull from itself."""
    return replace(new_settings(tmp_path / "data", store_url), pull_private=True)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Of a file on the web."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web/file").write_bytes(b"pulled" * 10_000)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/file"
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize("where", ["record", "disk"])
@pytest.mark.parametrize("kind", JOBS)
def test_a_job_on_a_volume_ends_as_if_nothing_was_wherever_its_worker_died(
    settings: Settings, url: str, kind: str, where: str
) -> None:
    case = JOBS[kind]
    step, died, undisturbed = -1, True, None
    while died:
        with closing(Trial(settings)) as trial:
            job = case.begin(trial, url)
            died = step >= 0 and dies(trial, job, where, step)
            for _ in range(_WORKERS):
                assert not Fate(None).meet(settings, job.job_id)
                if not trial.jobs.get(job.job_id).is_open:
                    break
            undisturbed = undisturbed or trial.outcome(job)
            assert trial.outcome(job) == undisturbed, f"after a death at step {step}"
            assert undisturbed["job"][0] == "done"
        died, step = died or step < 0, step + 1
    print(f"{kind}: {step - 1} deaths")
    assert step > case.least[where == "disk"]


def dies(trial: Trial, job: Job, where: str, step: int) -> bool:
    """Have a worker do the job that is killed at a step; False when it has fewer."""
    if where == "record":
        return Fate(step).meet(trial.settings, job.job_id)
    return killed_at(step, lambda: create_runner(trial.settings).run(job.job_id))
