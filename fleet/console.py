"""A container's console: its output as numbered messages of whole lines, kept for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fleet.keys import console_channel, key
from fleet.scripts import plain_source
from fleet.store import Client

_CHUNK = 200
_CLOSED_SECONDS = 3600
"""Longer than a reader can lag behind what a deleted container wrote."""


@dataclass(frozen=True, slots=True)
class Append:
    """Output read from one engine container, from `before` to `after` in its log (opaque positions).

    With `left_out` the data is not written; so many lines are only counted, and told before what comes next, or
    when an item without data and without count asks for it. `lost` is told before the data: see `lost_notice`.
    """

    container_id: str
    source: str
    before: str
    after: str
    data: bytes
    left_out: bool = False
    lost: str = ""


class Output(NamedTuple):
    """One message of a console, or a notice in its place: so many lines were `left_out`, or what is `lost`.

    The console of a container `begins` with its first one.
    """

    seq: int
    data: str
    left_out: int = 0
    lost: str = ""
    begins: bool = False

    @property
    def notice(self) -> str:
        """What is missing here, without a full stop; empty for output."""
        return left_out_notice(self.left_out) if self.left_out else self.lost

    @property
    def text(self) -> str:
        """As it stands among other lines."""
        return f"[{self.notice}]\n" if self.notice else self.data


class Console:
    """The consoles of all containers, in the stream store. `redis` answers in bytes."""

    def __init__(self, redis: Client, history_kb: int = 2048) -> None:
        self._redis = redis
        self._append = redis.register_script(plain_source("append_console"))
        self._history_bytes = history_kb * 1024

    def append(self, batch: Sequence[Append]) -> list[tuple[int | None, str]]:
        """Add output, one call for all. Per item its seq, and the position that holds now.

        A seq of None with a position other than `after` means that another reader was there first.
        """
        names: list[str] = []
        values: list[str | bytes | int] = [self._history_bytes]
        for item in batch:
            names += (*_keys(item.container_id), key("console_closed", item.source))
            values += _arguments(item)
        answers: list[bytes] = self._append(keys=names, args=values) if batch else []
        return [
            (int(seq) if seq else None, position.decode())
            for seq, position in zip(answers[::2], answers[1::2], strict=True)
        ]

    def position(self, container_id: str, source: str) -> str:
        """How far the log of an engine container was read; '' for not at all."""
        value = self._redis.hget(key("console_position", container_id), f"at:{source}")
        return value.decode() if value else ""

    def since(self, container_id: str, seq: int) -> Iterator[Output]:
        """Messages after `seq`, oldest first, as far as history reaches."""
        while True:
            entries = self._redis.xrange(key("console", container_id), f"({seq}-0", "+", count=_CHUNK)
            for entry in entries:
                message = _message(entry)
                seq = message.seq
                yield message
            if len(entries) < _CHUNK:
                return

    def reach(self, container_id: str) -> tuple[int, int]:
        """`(oldest, newest)` seq: of what is kept, and of what was ever written; 0 for nothing."""
        oldest = self._redis.xrange(key("console", container_id), count=1)
        newest = self._redis.hget(key("console_position", container_id), "seq")
        return (_message(oldest[0]).seq if oldest else 0), int(newest or 0)

    def tail(self, container_id: str, lines: int, until: int | None = None) -> str:
        """The last `lines` lines of output, also one that has no newline yet; nothing after the seq `until`."""
        parts: list[str] = []
        newlines, last = 0, "+" if until is None else f"{until}-0"
        while newlines <= lines:
            entries = self._redis.xrevrange(key("console", container_id), last, "-", count=_CHUNK)
            for entry in entries:
                message = _message(entry)
                parts.append(message.text)
                newlines += message.text.count("\n")
                last = f"({message.seq}-0"
                if newlines > lines:
                    break
            if len(entries) < _CHUNK:
                break
        return _last_lines("".join(reversed(parts)), lines) if lines else ""

    def forget_torn(self, container_id: str) -> bool:
        """Drop a console whose store was emptied while it was written, so that it is read anew; whether it was."""
        if not self._redis.hexists(key("console_position", container_id), "torn"):
            return False
        self._redis.delete(*_keys(container_id))
        return True

    def forget(self, container_id: str, source: str | None) -> None:
        """Drop all output of a deleted container, also what is still being read of its engine container `source`."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(*_keys(container_id))
            if source is not None:
                pipe.set(key("console_closed", source), "1", ex=_CLOSED_SECONDS)
            pipe.execute()


def decode_message(payload: bytes) -> Output:
    """A message of the console channel: its seq and marks (`^` begins, `+` left out, `!` lost), a newline, its data."""
    head, _, data = payload.partition(b"\n")
    seq, begins = int(head.rstrip(b"^+!")), b"^" in head
    if head.endswith(b"+"):
        return Output(seq, "", int(data), begins=begins)
    if head.endswith(b"!"):
        return Output(seq, "", lost=data.decode(), begins=begins)
    return Output(seq, data.decode("utf-8", "replace"), begins=begins)


def left_out_notice(lines: int) -> str:
    """The sentence for lines that were printed faster than a console takes them."""
    return f"{lines} lines were left out: more is printed per second than this console takes"


def lost_notice(after: str, before: str) -> str:
    """The sentence for what the host no longer had when it could be read, between two stamps of lines that it has.

    Without `after` nothing was read yet: then nobody knows whether anything came before the oldest line there is.
    """
    if not after:
        return f"Console output printed before {before} may be lost: the host's log reaches back no further"
    return f"Console output printed after {after} and before {before} is lost: the host's log reaches back no further"


def _arguments(item: Append) -> list[str | bytes]:
    """What the append script takes for an item."""
    channel = console_channel(item.container_id)
    data, left_out = (b"", str(item.data.count(b"\n"))) if item.left_out else (item.data, "")
    return [channel, item.source, item.before, item.after, data, left_out, item.lost]


def _keys(container_id: str) -> list[str]:
    return [key("console", container_id), key("console_position", container_id)]


def _last_lines(text: str, lines: int) -> str:
    """The end of a text; what follows its last newline counts as a line, if anything does."""
    found = text.split("\n")
    return "\n".join(found[-lines if found[-1] else -lines - 1 :])


def _message(entry: tuple[bytes, dict[bytes, Any]]) -> Output:
    seq, fields = int(entry[0].partition(b"-")[0]), entry[1]
    begins = b"b" in fields
    if b"n" in fields:
        return Output(seq, "", int(fields[b"n"]), begins=begins)
    if b"l" in fields:
        return Output(seq, "", lost=fields[b"l"].decode(), begins=begins)
    return Output(seq, fields[b"d"].decode("utf-8", "replace"), begins=begins)
