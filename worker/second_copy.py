"""The host's own copy of its containers' records, for the day the store is empty: one file each, for root only.

Labels tell the most of a container too, but only while there is one in the engine, and as it was when that was made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import structlog

from fleet.models import Container
from fleet.repositories.container_fields import container_fields, container_from_fields
from fleet.settings import Settings

_AGENTS, _WORKERS = ".new", ".noted"
"""Agent and worker have drafts of their own, and a container has one worker at a time."""

log = structlog.get_logger()


class SecondCopy:
    """Files in `containers/.records` under the data folder: the agent's, and a worker's before it removes things."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.data / "containers" / ".records"
        self._written: dict[str, str] = {}

    def keep(self, records: Iterable[Container]) -> bool:
        """Have a file for each of these records, but those that are being deleted, and for no other.

        Answers whether any was written: a worker may have written or removed it since the records were read, so they
        are to be read and kept once more.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        texts = {record.internal_id: _text(record) for record in records if not record.deleting}
        there = {path.stem for path in self._folder.glob("*.json")}
        stale = [name for name, text in texts.items() if name not in there or self._written.get(name) != text]
        for name in stale:
            self._write(name, texts[name], _AGENTS)
        for name in there - texts.keys():
            self.forget(name)
        self._written = texts
        return bool(stale)

    def note(self, record: Container) -> None:
        """Have a file for this record now: what it says is about to become true in the engine.

        It matters only where the store gets lost too, so a full disk is no reason not to go on.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(record.internal_id, _text(record), _WORKERS)
        except OSError as error:
            log.warning("a container was not written down", container=record.internal_id, reason=str(error))

    def forget(self, name: str) -> None:
        """Have no file for a container that is deleted; fine when there is none."""
        for suffix in (".json", _AGENTS, _WORKERS):
            self._path(name).with_suffix(suffix).unlink(missing_ok=True)

    def read(self) -> Iterator[Container]:
        """All records that have a file; one that cannot be understood is told in the log."""
        for path in sorted(self._folder.glob("*.json")):
            try:
                yield container_from_fields(json.loads(path.read_text()))
            except (ValueError, KeyError, TypeError) as error:
                log.error("a container's description on this host is damaged", path=str(path), reason=str(error))

    def _write(self, name: str, text: str, draft: str) -> None:
        fresh = self._path(name).with_suffix(draft)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        fresh.replace(self._path(name))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def _text(record: Container) -> str:
    return json.dumps(container_fields(record), indent=1)
