"""`./lightd backup` and `./lightd restore`: the record as a file, for what no host holds."""

from __future__ import annotations

import time
from pathlib import Path

from fleet.backup_file import read_backup, write_backup
from fleet.repositories.backup import BackupRepository
from fleet.settings import Settings
from fleet.store import connect, store_errors
from scripts.failure import Failure


def backup(settings: Settings, path: Path) -> str:
    """Write the record into `path`; answers a sentence about it. Raises Failure when the file cannot be written."""
    with store_errors():
        entries = _repository(settings).snapshot()
    try:
        made = write_backup(path, entries)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}.") from error
    return f"{path} holds the record: {len(made.entries)} keys. Keep it as safe as the store: only you can read it now."


def restore(settings: Settings, path: Path) -> str:
    """Fill an empty store from `path`; answers a sentence about it. Raises Failure when the file cannot be read."""
    try:
        found = read_backup(path)
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}.") from error
    made_at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(found.made_at))
    with store_errors():
        fresh = _repository(settings).restore(found)
    if not fresh:
        return f"The store was filled from this backup already; it is of {made_at}."
    return (
        f"The store has {len(found.entries)} keys again, as of {made_at}. Run `./lightd recover` on every host now: "
        "until then none of them changes anything."
    )


def _repository(settings: Settings) -> BackupRepository:
    return BackupRepository(connect(settings).blocking)
