"""What jobs on volumes do: make an archive, open one, fetch a file from the web.

Each leaves its result whole or nothing, so what a worker's death cut short is simply done again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from fleet.errors import Conflict, NotFound
from fleet.models import Job
from storage.archives import Report, compress, decompress, format_named
from storage.beneath import Root, opened_file
from storage.failures import described
from storage.paths import checked_folder, checked_path
from storage.pulling import PullLimits, pull
from worker.operations.host import Host

_ARCHIVE = "archive"


def compress_files(root: Root, job: Job, report: Report, host: Host) -> dict[str, Any]:
    """`paths` of the volume (none: all of it) as an archive of `format` at `archive_path`; answers its size."""
    destination = checked_path(job.arguments["archive_path"])
    paths = [checked_path(path) for path in job.arguments["paths"]]

    def seal(fd: int) -> None:
        host.jobs.update(job, journal={_ARCHIVE: _identity(fd)})

    size = _made_before(root, job, destination)
    if size is None:
        size = compress(root, format_named(job.arguments["format"]), destination, paths, report, seal)
    return {"message": "Compression successful", "archive_path": job.arguments["archive_path"], "size": size}


def decompress_archive(root: Root, job: Job, report: Report, _host: Host) -> dict[str, Any]:
    """What is in `archive_path`, unpacked into the folder `destination`; answers how much that is."""
    archive, destination = checked_path(job.arguments["archive_path"]), checked_folder(job.arguments["destination"])
    unpacked = decompress(root, archive, destination, report)
    return {
        "message": "Decompression successful",
        "destination": job.arguments["destination"],
        "files": unpacked.files,
        "bytes": unpacked.size_bytes,
    }


def pull_file(root: Root, job: Job, report: Report, host: Host) -> dict[str, Any]:
    """What `url` answers, as the file `path`; answers its size."""
    limits = PullLimits(allow_private=host.settings.pull_private)
    size = pull(root, job.arguments["url"], checked_path(job.arguments["path"]), limits, report)
    return {"message": "File pulled successfully", "path": job.arguments["path"], "size": size}


def _made_before(root: Root, job: Job, archive: bytes) -> int | None:
    """The size of the archive when an earlier attempt finished it, and only could not say so any more.

    The journal knows that very file from before it had a name; whatever else stands there is the container's.
    """
    sealed = job.journal.get(_ARCHIVE)
    if sealed is None:
        return None
    with suppress(NotFound, Conflict), described(archive), opened_file(root.fd, archive, follow=False) as fd:
        return os.fstat(fd).st_size if _identity(fd) == sealed else None
    return None


def _identity(fd: int) -> dict[str, int]:
    """What tells a file from every other one, also from one that got the inode of a deleted one."""
    status = os.fstat(fd)
    return {"inode": status.st_ino, "size_bytes": status.st_size, "modified_at_ns": status.st_mtime_ns}
