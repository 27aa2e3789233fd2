"""A backup as a file: one line that says what it is and what the rest sums up to, then one line per key, all JSON.

It holds everything a stranger must not see (digests of tokens, environments of containers), so only its owner may
read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from fleet.errors import Invalid
from fleet.keys import PREFIX

_FORMAT = "lightd-backup"
VERSION = 1
_TYPES = ("string", "hash", "list", "set", "zset", "stream")


@dataclass(frozen=True, slots=True)
class Entry:
    """One key: its type, when it ends (ms since 1970, None for never) and its value as the store tells it."""

    key: str
    type: str
    ends_at_ms: int | None
    value: Any


@dataclass(frozen=True, slots=True)
class Backup:
    """The content of a file: entries, when they were read (unix seconds), and their checksum."""

    entries: tuple[Entry, ...]
    made_at: int
    checksum: str


def write_backup(path: Path, entries: Sequence[Entry]) -> Backup:
    """Write a backup; an older file of that name is replaced only by a whole one. Raises OSError."""
    body = "".join(json.dumps(astuple(entry)) + "\n" for entry in entries).encode()
    made = Backup(tuple(entries), int(time.time()), hashlib.sha256(body).hexdigest())
    head = {"format": _FORMAT, "version": VERSION, "made_at": made.made_at, "entries": len(entries)}
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(head | {"sha256": made.checksum}).encode() + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return made


def read_backup(path: Path) -> Backup:
    """Read a backup whole. Raises Invalid when it is none, is damaged or of another version; OSError."""
    head_line, _, body = path.read_bytes().partition(b"\n")
    try:
        head = json.loads(head_line)
        if head["format"] != _FORMAT:
            raise ValueError
        version, checksum, made_at = head["version"], head["sha256"], int(head["made_at"])
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(f"{path} is no backup made by `./lightd backup`.") from error
    if version != VERSION:
        raise Invalid(f"{path} is a backup of version {version}; this Lightd reads version {VERSION}.")
    if hashlib.sha256(body).hexdigest() != checksum:
        raise Invalid(f"{path} is damaged: its content does not have the checksum that it names.")
    entries = tuple(Entry(*json.loads(line)) for line in body.splitlines())
    if not all(entry.key.startswith(f"{PREFIX}:") and entry.type in _TYPES for entry in entries):
        raise Invalid(f"{path} holds keys that are not Lightd's.")
    return Backup(entries, made_at, checksum)
