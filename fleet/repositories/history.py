"""What happened to containers, and how their runs ended; the scripts write it together with what it tells."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from fleet.keys import key
from fleet.runs import RunEnd, read_end
from fleet.store import Client

_ID = re.compile(r"\d{1,18}-\d{1,18}")


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened to a container; `at` in unix seconds, `id` orders them."""

    id: str
    event: str
    data: dict[str, Any]

    @property
    def at(self) -> float:
        """When, by the store's clock."""
        return int(self.id.partition("-")[0]) / 1000


class History:
    """The histories of all containers; each goes with its container."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis

    def page(self, container_id: str, after: str = "", limit: int = 100) -> tuple[list[Happening], str | None]:
        """Up to `limit` happenings, newest first, older than the one with the id `after`; and the id to go on from."""
        if after and not _ID.fullmatch(after):
            return [], None
        last = f"({after}" if after else "+"
        entries = self._redis.xrevrange(key("history", container_id), last, "-", count=limit)
        found = [Happening(name, fields["event"], json.loads(fields["data"])) for name, fields in entries]
        return found, found[-1].id if len(found) == limit else None

    def ends(self, container_id: str) -> list[RunEnd]:
        """The last ends of a container's runs, newest first."""
        return [read_end(text) for text in self._redis.lrange(key("ends", container_id), 0, -1)]

    def last_end(self, container_id: str) -> RunEnd | None:
        """How the last run that ended did so; None before the first."""
        text = self._redis.lindex(key("ends", container_id), 0)
        return read_end(text) if text else None
