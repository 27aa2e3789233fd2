"""Where a reader of an engine container's log stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Position:
    """Up to and including the entry `ordinal` (from 1) of those that carry `stamp`.

    `inside` says that this entry ended in the middle of a line whose beginning was passed on already.
    """

    stamp: str = ""
    ordinal: int = 0
    inside: bool = False

    def __str__(self) -> str:
        if not self.stamp:
            return ""
        return f"{self.stamp}|{self.ordinal}{'+' if self.inside else ''}"


def read_position(text: str) -> Position:
    """The position that `str` wrote; '' is the beginning of the log."""
    if not text:
        return Position()
    stamp, _, rest = text.partition("|")
    return Position(stamp, int(rest.rstrip("+")), rest.endswith("+"))


def nanoseconds(stamp: str) -> int:
    """A stamp of the engine (RFC 3339 in UTC, up to nine decimals) in nanoseconds since 1970."""
    whole, _, decimals = stamp.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 1_000_000_000 + int(decimals.ljust(9, "0") or 0)
