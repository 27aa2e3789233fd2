"""The end of a run as it is kept: the engine's facts, and the last lines that the process printed."""

from __future__ import annotations

import re
from pathlib import Path

from fleet.pattern import plain_text
from fleet.runs import Run, RunEnd
from worker.console.entries import Entry, read_entries
from worker.console.position import nanoseconds
from worker.runtime.base import EngineContainer

_LINES = 20
_LINE_CHARACTERS = 300
_TAIL_BYTES = 64 * 1024
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_NANOSECONDS = 1_000_000_000
_BEFORE_START_NANOSECONDS = 5 * _NANOSECONDS


def ended_run(found: EngineContainer, previous: RunEnd | None) -> Run:
    """The last run of a stopped engine container; `previous` is the end before, as far as it is known."""
    output = last_lines(Path(found.log_path), _first_moment(found, previous)) if found.log_path else ""
    return Run(found.run, found.exit_code, found.oom_killed, found.ended, output)


def last_lines(log: Path, after_nanoseconds: int) -> str:
    """The last 20 lines that were logged after that moment, without escape sequences, each cut to 300 characters."""
    entries = [entry for entry in _tail(log) if nanoseconds(entry.stamp) > after_nanoseconds]
    text = plain_text(b"".join(entry.data for entry in entries)).decode("utf-8", "replace")
    lines = [_shown(line) for line in text.removesuffix("\n").split("\n")] if text else []
    return "".join(f"{line}\n" for line in lines[-_LINES:])


def _first_moment(found: EngineContainer, previous: RunEnd | None) -> int:
    """A time between the last line of the run before and the first line of this one, in nanoseconds.

    The engine's stamps may lie on the wrong side of its own start and end times by a moment. When the end before was
    written down its last line was logged, and our starts come later; a start behind our back may not.
    """
    run = int(found.run)
    if previous is None:
        return run - _BEFORE_START_NANOSECONDS
    recorded = int(previous.recorded_at * _NANOSECONDS)
    return recorded if recorded <= run else (int(previous.ended_at * _NANOSECONDS) + run) // 2


def _tail(log: Path) -> list[Entry]:
    """The entries at the end of a log, of which the engine may just have begun a new file."""
    entries: list[Entry] = []
    for path in (log, log.with_name(f"{log.name}.1")):
        entries[:0] = read_entries(_end_of(path))
        if len(entries) >= _LINES:
            break
    return entries


def _end_of(path: Path) -> bytes:
    """The last whole lines of a file; b"" when it is not there."""
    try:
        with path.open("rb") as file:
            begins = max(0, file.seek(0, 2) - _TAIL_BYTES)
            file.seek(begins)
            block = file.read(_TAIL_BYTES)
    except OSError:
        return b""
    return block.partition(b"\n")[2] if begins else block


def _shown(line: str) -> str:
    """What a terminal would show of a line, more or less: what was overwritten is gone."""
    return _CONTROL.sub("", line.rstrip("\r").rpartition("\r")[2])[:_LINE_CHARACTERS]
