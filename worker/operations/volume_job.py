"""A job on a volume, from the claim to its end in the record."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog
from redis.exceptions import RedisError

from fleet import messages
from fleet.models import Job
from fleet.repositories.jobs import JobRefused
from storage.archives import Report
from storage.beneath import Root
from storage.staging import sweep_staging
from worker.operations.archives import compress_files, decompress_archive, pull_file
from worker.operations.failure import ending_of
from worker.operations.host import Host

_PROGRESS_SECONDS = 0.25

_log = structlog.get_logger(__name__)

VOLUME_OPERATIONS: dict[str, Callable[[Root, Job, Report, Host], dict[str, Any]]] = {
    "compress": compress_files,
    "decompress": decompress_archive,
    "pull": pull_file,
}
"""What a kind of job does with an open volume and a way to report; it answers the result."""


def work_on_volume(host: Host, job: Job) -> None:
    """Do a claimed job, alone on its volume, and write how it ended.

    Raises JobRefused when another attempt has it by now, RedisError when the store is away; then it is done again.
    """
    log = _log.bind(kind=job.kind, volume=job.volume_id, attempt=job.attempt)
    log.info("job begins")
    try:
        with host.volumes.opened_alone(job.volume_id or "") as root:
            if job.attempt > 1:
                sweep_staging(root)  # what the worker before this one left when it died
            host.jobs.update(job, step=job.kind, progress=None)
            result = VOLUME_OPERATIONS[job.kind](root, job, _reporter(host, job), host)
    except (RedisError, JobRefused):
        raise
    except Exception as error:  # noqa: BLE001 (every job ends with a reason)
        ending = ending_of(error, job.job_id)
        log.warning("job ends", state=ending.state, reason=ending.reason)
        host.jobs.finish(job, ending.state, ending.reason, result=ending.problem)
        return
    host.jobs.finish(job, "done", result=result, progress=1.0)
    log.info("job is done")


def _reporter(host: Host, job: Job) -> Report:
    """Tells watchers of the containers on the volume how far the job is, four times a second at most and at its end.

    It raises Cancelled when that was asked for.
    """
    told_at, told_all = 0.0, False

    def report(done: int, total: int) -> None:
        nonlocal told_at, told_all
        all_done = done == total > 0 and not told_all  # a total of 0 is one that nobody knows yet
        if all_done or time.monotonic() - told_at >= _PROGRESS_SECONDS:
            told_at, told_all = time.monotonic(), told_all or all_done
            fraction = min(done / total, 1.0) if total else None
            host.jobs.update(job, [messages.progress(job.job_id, job.kind, fraction)], progress=fraction)

    return report
