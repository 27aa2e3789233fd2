"""The last lines of a run, out of the engine's log files."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleet.runs import RunEnd
from worker.console.ended_run import ended_run, last_lines
from worker.runtime.base import EngineContainer

SECOND = 1_000_000_000


def write(log: Path, *lines: str, at: int = 100) -> None:
    """Lines as the engine logs them, all at this second."""
    stamp = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000001Z")
    with log.open("a") as file:
        file.writelines(json.dumps({"log": line, "stream": "stdout", "time": stamp}) + "\n" for line in lines)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "c-json.log"


def test_the_last_twenty_lines_are_kept(log: Path) -> None:
    write(log, *(f"line {number}\r\n" for number in range(50)))
    assert last_lines(log, 0) == "".join(f"line {number}\n" for number in range(30, 50))


def test_an_unfinished_last_line_is_one_too(log: Path) -> None:
    write(log, "whole\r\n", "half")
    assert last_lines(log, 0) == "whole\nhalf\n"


def test_colours_and_control_characters_are_left_out(log: Path) -> None:
    write(log, "\x1b[31mred\x1b[0m\x07\r\n", " 10 %\r 99 %\r\n", "grün\tand ✓\r\n", "\r\n")
    assert last_lines(log, 0) == "red\n 99 %\ngrün\tand ✓\n\n"


def test_lines_of_the_run_before_are_left_out(log: Path) -> None:
    write(log, "old\r\n", at=100)
    write(log, "new\r\n", at=102)
    assert last_lines(log, 101 * SECOND) == "new\n"


@pytest.mark.parametrize(
    ("started", "before"), [(103, RunEnd(90, 99, 9, "stop", 102)), (102, RunEnd(90, 100, 10, "crash", 103))]
)
def test_a_run_begins_where_the_one_before_was_written_down_or_between_the_two(
    log: Path, started: int, before: RunEnd
) -> None:
    write(log, "old\r\n", at=100)
    write(log, "new\r\n", at=102)
    run = f"{started * SECOND:020d}"
    found = EngineContainer("id", "name", {}, False, "image", run, 1, False, 0, log_path=str(log), ended=run)
    assert ended_run(found, before).output == "new\n"
    assert ended_run(found, None).output == "old\nnew\n"


def test_a_log_that_was_just_rotated_is_read_too(log: Path) -> None:
    write(log.with_name(f"{log.name}.1"), *(f"old {number}\r\n" for number in range(30)))
    write(log, "new\r\n")
    assert last_lines(log, 0).splitlines() == [*(f"old {number}" for number in range(11, 30)), "new"]


def test_long_lines_are_cut_and_long_logs_read_from_their_end(log: Path) -> None:
    write(log, *("x" * 10_000 + "\r\n" for _ in range(40)))
    assert set(last_lines(log, 0).splitlines()) == {"x" * 300}


def test_a_process_that_printed_nothing_has_none(log: Path) -> None:
    assert last_lines(log, 0) == ""
    log.touch()
    assert last_lines(log, 0) == ""
