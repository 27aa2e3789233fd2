"""The whole record, read at one moment and written into an empty store."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from redis.exceptions import WatchError

from fleet.backup_file import Backup, Entry
from fleet.errors import Conflict
from fleet.keys import PREFIX, key
from fleet.scripts import Scripts
from fleet.store import Client

_PASSING = (
    "generation", "restored", "feed", "jobs_open", "deadlines", "lease", "reply", "orders", "signs", "node", "nodes",
    "beat", "failed_logins", "known_login", "sockets", "socket_processes", "idempotency_lease", "console",
    "console_position", "console_closed",
)  # fmt: skip
"""Kinds of keys that mean nothing in another store, or at another time; everything else is kept."""

_MADE_BY_UP = (*_PASSING, "master")
"""What a new store gets before anybody has used it."""

_JOB_LIFETIME_MS = 7 * 24 * 3600 * 1000
_CUT_OFF = "The store was restored from a backup meanwhile; ask again."


class BackupRepository:
    """Reads and fills the record store. `redis` must be allowed to take seconds for an answer."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)

    def snapshot(self) -> list[Entry]:
        """The record as it is at one moment."""
        found: Any = self._scripts.run("snapshot", {"prefix": PREFIX, "left_out": list(_PASSING)})
        entries = [_entry(name, kind, int(ends_at), value) for name, kind, ends_at, value in found]
        return sorted(entries, key=lambda entry: entry.key)

    def restore(self, backup: Backup) -> bool:
        """Fill an empty store, all or nothing; False when it was filled from this very backup before.

        The contents get a new id: every host must look (`recover`) before it goes by them. Jobs that were open have
        failed: nobody wants them done now. Raises Conflict when the store is not empty.
        """
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.watch(key("restored"), *map(key, ("containers", "volumes", "ports", "tokens")))
            if pipe.get(key("restored")) == backup.checksum:
                return False
            self._refuse_unless_empty()
            pipe.multi()
            for entry in _without_open_jobs(backup.entries):
                _write(pipe, entry)
            pipe.set(key("restored"), backup.checksum)
            pipe.set(key("generation"), secrets.token_hex(8))
            try:
                pipe.execute()
            except WatchError as error:
                raise Conflict("The store is in use; stop the API while you restore.") from error
        return True

    def _refuse_unless_empty(self) -> None:
        for name in self._redis.scan_iter(f"{PREFIX}:*", count=1000):
            if name.split(":")[1] not in _MADE_BY_UP:
                raise Conflict(f"The store is not empty (it has {name}); a backup is restored into an empty one only.")


def _entry(name: str, kind: str, ends_at: int, value: list[str] | str) -> Entry:
    return Entry(name, kind, ends_at if ends_at >= 0 else None, value)


def _without_open_jobs(entries: Iterable[Entry]) -> Iterable[Entry]:
    now = time.time()
    for entry in entries:
        if entry.ends_at_ms is not None and entry.ends_at_ms <= now * 1000:
            continue
        fields = _pairs(entry.value) if entry.key.startswith(key("job", "")) else {}
        if fields.get("state") in ("queued", "running"):
            fields |= {"state": "failed", "error": _CUT_OFF, "finished_at": str(now)}
            fields.pop("waits", None)
            flat = [part for pair in fields.items() for part in pair]
            yield replace(entry, value=flat, ends_at_ms=int(now * 1000) + _JOB_LIFETIME_MS)
        else:
            yield entry


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _write(pipe: Client, entry: Entry) -> None:
    name, value = entry.key, entry.value
    pipe.delete(name)
    if entry.type == "string":
        pipe.set(name, value)
    elif entry.type == "hash":
        pipe.hset(name, mapping=_pairs(value))
    elif entry.type == "list":
        pipe.rpush(name, *value)
    elif entry.type == "set":
        pipe.sadd(name, *value)
    elif entry.type == "zset":
        pipe.zadd(name, {member: float(score) for member, score in _pairs(value).items()})
    else:
        for entry_id, fields in value:
            pipe.xadd(name, _pairs(fields), id=entry_id)
    if entry.ends_at_ms is not None:
        pipe.pexpireat(name, entry.ends_at_ms)
