"""What clients were promised: the book that the record is compared with when everything has healed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from fleet.models import Container, Job

Ports = frozenset[int]


@dataclass
class Server:
    """One container as its client knows it.

    `there` is None while nobody can know: a call went unanswered, or the store was emptied meanwhile. `ports` are all
    sets of ports that it may have; `rebindings` are asked for since then, with their job where that was told. `label`
    and `pids` are all values that its label `n` and its limit of processes may have.
    """

    name: str
    volume_id: str
    there: bool | None = False
    deletion_asked: bool = False
    ports: set[Ports] = field(default_factory=set)
    rebindings: list[tuple[str | None, Ports]] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    label: set[str] = field(default_factory=set)
    pids: set[int] = field(default_factory=set)

    def begin(self, ports: Ports, pids: int) -> None:
        """A creation is asked for."""
        self.label, self.pids = {""}, {pids}
        self.there, self.deletion_asked = None, False
        self.ports, self.rebindings, self.jobs = {ports}, [], []

    def gone(self) -> None:
        """A deletion was answered as done, or the creation was refused."""
        self.there, self.deletion_asked = False, False
        self.ports, self.rebindings = set(), []

    def lose_the_record(self, in_engine: bool, copies: Sequence[Container]) -> None:
        """The store was emptied. The host has the container in its engine, or a copy of its record, or nothing.

        `copies` were seen before and after that. A copy may be seconds old; the engine knows limits as they are and
        labels as they were at the creation.
        """
        held = in_engine or bool(copies)
        if self.there is not False:
            self.there = True if self.there and held and not self.deletion_asked else None
        self.label.add("")
        for copy in copies:
            self.label.add(copy.spec.labels.get("n", ""))
            self.pids |= set() if in_engine else {copy.spec.limits.pids}
        self.ports |= {ports for _, ports in self.rebindings}
        self.rebindings, self.jobs = [], []

    def check(self, record: Container | None, jobs: dict[str, Job]) -> Iterator[str]:
        """Sentences about promises that were not kept."""
        if self.there is not None and not self.deletion_asked and self.there is not (record is not None):
            yield f"{self.name} {'was created' if self.there else 'was deleted'}, but the record says otherwise."
        for job_id in self.jobs:
            if job_id not in jobs:
                yield f"Job {job_id} of {self.name} was promised, but nobody knows it."
        if record is None:
            return
        told = (record.spec.labels.get("n", ""), record.spec.limits.pids)
        if told[0] not in self.label or told[1] not in self.pids:
            yield f"{self.name} has label and pids {told}, its client was promised {self.label}, {self.pids}."
        possible = set(self.ports)
        for asked, ports in self.rebindings:
            job = jobs.get(asked or "")
            possible = {ports} if job and job.state == "done" else possible if job else possible | {ports}
        has = frozenset(port.port for port in record.ports)
        if has not in possible:
            yield f"{self.name} has ports {sorted(has)}, its client was promised {[sorted(one) for one in possible]}."


@dataclass
class Files:
    """Contents that paths of a volume may have, as digests; None for no file. One client writes a path at a time."""

    contents: dict[tuple[str, str], set[str | None]] = field(default_factory=dict)

    def may_have(self, volume_id: str, path: str, content: str) -> None:
        """A write is under way."""
        self.contents.setdefault((volume_id, path), {None}).add(_digest(content.encode()))

    def has(self, volume_id: str, path: str, content: str) -> None:
        """A write was answered as done."""
        self.contents[volume_id, path] = {_digest(content.encode())}

    def has_not(self, volume_id: str, path: str, content: str) -> None:
        """A write was refused; what the path had before, it still has."""
        possible = self.contents[volume_id, path]
        if len(possible) > 1:
            possible.discard(_digest(content.encode()))

    def forget(self, volume_id: str) -> None:
        """The volume is deleted."""
        self.contents = {place: kept for place, kept in self.contents.items() if place[0] != volume_id}

    def check(self, found: Iterable[tuple[tuple[str, str], bytes | None]]) -> Iterator[str]:
        """Sentences about files that are not as promised."""
        for (volume_id, path), content in found:
            if (None if content is None else _digest(content)) not in self.contents[volume_id, path]:
                size = "no" if content is None else len(content)
                yield f"File {path} of volume {volume_id} is not what was written last: it has {size} bytes."


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
