"""Moving the log of one engine container to a console, step by step and repeatable at every step."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path

from fleet.console import Append, lost_notice
from worker.console.lines import Lines, Message
from worker.console.log_file import LogFile
from worker.console.position import read_position
from worker.console.throttle import Throttle


class Transfer:
    """One log on its way. `collect`, send with Console.append, then `settle`; after a failed send just collect again.

    Nothing is lost or doubled whatever happens in between: what was not settled is collected again, and the
    console takes only what follows the position it knows. What is printed faster than `lines_per_second` (0 is no
    limit) is counted instead, the rest of a line as a line; while the number has not been told, `owes_notice` is set
    and `collect` should be called.
    """

    def __init__(self, container_id: str, engine_id: str, path: Path, position: str, lines_per_second: int = 0) -> None:
        self.container_id = container_id
        self.engine_id = engine_id
        self._path = path
        self._throttle = Throttle(lines_per_second)
        self._is_throttled = lines_per_second > 0
        self._unsettled: deque[Append] = deque()
        self._stand_at(position)

    def collect(self, max_bytes: int, *, ended: bool = False) -> list[Append]:
        """The next messages, from about `max_bytes` of log; empty when all was passed on.

        `ended`: the process writes no more, so an unfinished last line goes out too.
        """
        if self._unsettled:
            self._log.hold_on()
        while not self._unsettled:
            entries = self._log.read(max_bytes)
            if entries and self._log.gap:
                self._tell_gap(entries[0].stamp)
            self._add(self._lines.add(entries))
            if not entries:
                self._add(self._lines.end() if ended else ())
                break
        if not self._unsettled and self.owes_notice and (ended or not self._throttle.is_shut):
            self._append(b"", self._position)
        return list(self._unsettled)

    def settle(self, position: str) -> None:
        """The console stands at `position` after what was collected was sent."""
        expected = self._unsettled[-1].after
        self._unsettled.clear()
        if position != expected:
            self._log.close()
            self._stand_at(position)

    @property
    def is_behind(self) -> bool:
        """Whether there is more to collect than what was; if not, there will be when the log is written to again."""
        return self._log.is_behind

    def close(self) -> None:
        """Give the log's files back."""
        self._log.close()

    def _stand_at(self, position: str) -> None:
        self._position = position
        start = read_position(position)
        self._log = LogFile(self._path, start)
        self._lines = Lines(start)
        self._lost = ""
        self._shows_part = False
        self.owes_notice = self._is_throttled  # an earlier reader may have left something out

    def _tell_gap(self, before: str) -> None:
        """Output was rotated away before it could be read: say so before what comes next."""
        after = self._lines.stamp
        self._add(self._lines.end())
        self._log.gap, self._lost = False, lost_notice(after, before)

    def _add(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._append(message.data, str(message.after), left_out=not self._throttle.admits(message.data))

    def _append(self, data: bytes, after: str, *, left_out: bool = False) -> None:
        if left_out and self._shows_part:  # else the line that is shown next would go on where this one was cut
            self._append(b"\n", self._position)
        self._shows_part = not left_out and bool(data) and not data.endswith(b"\n")
        item = Append(self.container_id, self.engine_id, self._position, after, data, left_out, self._lost)
        self._unsettled.append(item)
        self._position, self._lost = after, ""
        self.owes_notice = left_out
