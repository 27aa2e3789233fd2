"""From log entries to console messages of whole lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from worker.console.entries import Entry
from worker.console.position import Position

MESSAGE_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Message:
    """Output to pass on, and where the reader stands after it."""

    data: bytes
    after: Position


class Lines:
    """Puts entries together to messages of whole lines, of up to MESSAGE_BYTES each.

    A line that is not finished is held back until it is, or until it is longer than a message: then its
    pieces go out one by one. Nothing is added to the output but the newline of a line that never got its own.
    """

    def __init__(self, start: Position) -> None:
        self._stamp, self._ordinal = start.stamp, start.ordinal
        self._whole: list[bytes] = []
        self._whole_bytes = 0
        self._whole_after = start.stamp, start.ordinal
        self._open: list[bytes] = []
        self._open_bytes = 0
        self._inside = start.inside

    @property
    def stamp(self) -> str:
        """The stamp of the newest entry, '' before the first."""
        return self._stamp

    def add(self, entries: Iterable[Entry]) -> Iterator[Message]:
        """The messages that are complete with these entries."""
        for stamp, data in entries:
            if stamp == self._stamp:
                self._ordinal += 1
            else:
                if self._open or self._inside:
                    self._close_line()
                self._stamp, self._ordinal = stamp, 1
            self._open.append(data)
            self._open_bytes += len(data)
            if self._whole and self._whole_bytes + self._open_bytes > MESSAGE_BYTES:
                yield self._take_whole()
            if data.endswith(b"\n"):
                self._finish_line()
            elif self._open_bytes >= MESSAGE_BYTES:
                yield self._take_piece()
        if self._whole:
            yield self._take_whole()

    def end(self) -> Iterator[Message]:
        """The process has ended: what is left, with the newline that it will not get any more."""
        if self._open or self._inside:
            self._close_line()
        if self._whole:
            yield self._take_whole()

    def _close_line(self) -> None:
        self._open.append(b"\n")
        self._open_bytes += 1
        self._finish_line()

    def _finish_line(self) -> None:
        self._whole += self._open
        self._whole_bytes += self._open_bytes
        self._whole_after = self._stamp, self._ordinal
        self._open, self._open_bytes, self._inside = [], 0, False

    def _take_whole(self) -> Message:
        data = b"".join(self._whole).replace(b"\r\n", b"\n")
        self._whole, self._whole_bytes = [], 0
        return Message(data, Position(*self._whole_after))

    def _take_piece(self) -> Message:
        data = b"".join(self._open)
        self._open, self._open_bytes, self._inside = [], 0, True
        return Message(data, Position(self._stamp, self._ordinal, inside=True))
