"""The engine's log files, as its `json-file` driver writes them, read into whole lines."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.console import Append, lost_notice
from worker.console.files_ahead import MOST_AHEAD, MOST_IN_ALL
from worker.console.log_file import LogFile
from worker.console.position import Position, nanoseconds, read_position
from worker.console.transfer import Transfer


class LogWriter:
    """Writes and rotates log files as the engine does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def write(self, text: str, stamp: int = 1) -> None:
        entry = {"log": text, "stream": "stdout", "time": _stamp(stamp)}
        with self.path.open("a") as log:
            log.write(json.dumps(entry, separators=(",", ":")) + "\n")

    def rotate(self, keep: int = 3) -> None:
        for number in range(keep - 1, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            if newer.exists():
                newer.rename(older)
        self.path.touch()


def _stamp(number: int) -> str:
    return f"2026-01-01T00:00:00.{number:09d}".rstrip("0") + "Z"


@pytest.fixture
def log(tmp_path: Path) -> LogWriter:
    return LogWriter(tmp_path / "x-json.log")


def _moved(transfer: Transfer, *, ended: bool = False) -> list[Append]:
    """Everything that a transfer passes on now."""
    moved: list[Append] = []
    while batch := transfer.collect(4096, ended=ended):
        moved += batch
        transfer.settle(batch[-1].after)
    return moved


def _all(path: Path, position: str = "", *, ended: bool = False) -> bytes:
    with closing(Transfer("c", "e", path, position)) as transfer:
        return b"".join(item.data for item in _moved(transfer, ended=ended))


def test_lines_come_as_they_were_written_with_plain_newlines(log: LogWriter) -> None:
    for number, text in enumerate(["hi\r\n", "\n", "50%\r99%\r\n", "gr\u00fcn \ufffd\n", "\x1b[1mbold\x1b[0m\n"]):
        log.write(text, number)
    assert _all(log.path) == "hi\n\n50%\r99%\ngr\u00fcn \ufffd\n\x1b[1mbold\x1b[0m\n".encode()


def test_a_line_waits_for_its_end(log: LogWriter) -> None:
    log.write("whole\n", 1)
    log.write("part", 2)
    with closing(Transfer("c", "e", log.path, "")) as transfer:
        assert [item.data for item in _moved(transfer)] == [b"whole\n"]
        log.write(" and end\n", 2)
        assert [item.data for item in _moved(transfer)] == [b"part and end\n"]


def test_the_last_words_of_a_process_need_no_newline(log: LogWriter) -> None:
    log.write("bye", 1)
    assert _all(log.path) == b""
    assert _all(log.path, ended=True) == b"bye\n"


def test_an_unfinished_line_of_an_earlier_run_is_not_joined_with_the_next_run(log: LogWriter) -> None:
    log.write("half a li", 1)
    log.write("first line\n", 2)
    assert _all(log.path) == b"half a li\nfirst line\n"


def test_a_line_longer_than_a_message_comes_in_pieces_and_can_be_taken_up_in_its_middle(log: LogWriter) -> None:
    parts = ["a" * 16384, "b" * 16384, "c" * 16384, "d" * 16384, "e\n"]
    for part in parts:
        log.write(part, 7)
    log.write("next\n", 8)
    with closing(Transfer("c", "e", log.path, "")) as transfer:
        moved = _moved(transfer)
    assert b"".join(item.data for item in moved) == "".join(parts).encode() + b"next\n"
    assert all(len(item.data) <= 32 * 1024 for item in moved)
    for item in moved:
        done = b"".join(one.data for one in moved[: moved.index(item) + 1])
        assert done + _all(log.path, item.after) == "".join(parts).encode() + b"next\n"


def test_a_line_that_never_got_its_end_is_closed_when_the_next_one_begins(log: LogWriter) -> None:
    log.write("a" * 16384, 1)
    log.write("b" * 16384, 1)
    with closing(Transfer("c", "e", log.path, "")) as transfer:
        (piece,) = _moved(transfer)
    log.write("other\n", 2)
    assert _all(log.path, piece.after) == b"\nother\n"


def test_a_reader_goes_through_rotations_without_loss(log: LogWriter) -> None:
    with closing(Transfer("c", "e", log.path, "")) as transfer:
        data = b""
        for number in range(20):
            log.write(f"{number}\n", number)
            if number % 3 == 0:
                log.rotate()
            moved = _moved(transfer)
            assert not any(item.lost for item in moved)
            data += b"".join(item.data for item in moved)
    assert data == b"".join(b"%d\n" % number for number in range(20))


def _told(moved: list[Append]) -> list[str]:
    """What was passed on, and what was said to be missing, in order."""
    return [text for item in moved for text in (item.lost, item.data.decode()) if text]


def test_a_reader_that_is_left_behind_by_rotations_says_what_is_lost(log: LogWriter) -> None:
    with closing(Transfer("c", "e", log.path, "")) as transfer:
        log.write("seen\n", 1)
        _moved(transfer)
        for number in range(2, 8):
            log.write(f"{number}\n", number)
            log.rotate()
        assert _told(_moved(transfer)) == ["2\n", lost_notice(_stamp(2), _stamp(6)), "6\n", "7\n"]
        log.write("8\n", 8)
        assert _told(_moved(transfer)) == ["8\n"]


def test_a_new_reader_says_what_is_lost_since_the_last_one_and_only_once(log: LogWriter) -> None:
    log.write("seen\n", 1)
    with closing(Transfer("c", "e", log.path, "")) as transfer:
        (seen,) = _moved(transfer)
    log.write("half a li", 2)
    for number in range(3, 9):
        log.write(f"{number}\n", number)
        log.rotate()
    with closing(Transfer("c", "e", log.path, seen.after)) as transfer:
        again = transfer.collect(4096)
        transfer.settle(seen.after)  # another reader was said to be ahead, or nothing was taken: from there again
        moved = _moved(transfer)
    assert _told(again) == [lost_notice(_stamp(1), _stamp(7)), "7\n"]
    assert _told(moved) == [lost_notice(_stamp(1), _stamp(7)), "7\n", "8\n"]
    with closing(Transfer("c", "e", log.path, moved[0].after)) as transfer:
        assert _told(_moved(transfer)) == ["8\n"]


def test_a_line_that_was_cut_by_a_loss_is_closed_before_it_is_told(log: LogWriter) -> None:
    with closing(Transfer("c", "e", log.path, "")) as transfer:
        log.write("half a li", 1)
        _moved(transfer)
        for number in range(2, 8):
            log.rotate()
            log.write(f"{number}\n", number)
        assert _told(_moved(transfer)) == ["half a li\n", lost_notice(_stamp(1), _stamp(5)), "5\n", "6\n", "7\n"]


def test_a_first_reader_of_a_full_log_says_that_something_may_be_lost(log: LogWriter) -> None:
    for number in range(1, 5):
        log.rotate()
        log.write(f"{number}\n", number)
    with closing(Transfer("c", "e", log.path, "")) as transfer:
        assert _told(_moved(transfer)) == [lost_notice("", _stamp(2)), "2\n", "3\n", "4\n"]


def test_while_the_store_is_away_nothing_is_rotated_away(log: LogWriter) -> None:
    with closing(Transfer("c", "e", log.path, "")) as transfer:
        log.write("0\n")
        unsent = transfer.collect(4096)
        for number in range(1, MOST_AHEAD + 1):
            log.rotate()
            log.write(f"{number}\n", number)
            assert transfer.collect(4096) == unsent
        assert _told(_moved(transfer)) == [f"{number}\n" for number in range(MOST_AHEAD + 1)]


def test_a_reader_holds_so_many_files_and_leaves_none_open(log: LogWriter) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with closing(Transfer("c", "e", log.path, "")) as transfer:
        log.write("0\n")
        transfer.collect(4096)
        for number in range(1, MOST_AHEAD + 10):
            log.rotate()
            log.write(f"{number}\n", number)
            transfer.collect(4096)
        assert len(set(os.listdir("/proc/self/fd")) - before) <= MOST_AHEAD + 1
        lost = lost_notice(_stamp(1), _stamp(10))
        assert _told(_moved(transfer)) == ["0\n", lost, *(f"{number}\n" for number in range(10, MOST_AHEAD + 10))]
    assert set(os.listdir("/proc/self/fd")) <= before


def test_readers_far_behind_hold_so_many_files_in_all_and_each_still_reaches_the_newest(tmp_path: Path) -> None:
    logs = [LogWriter(tmp_path / f"{number}-json.log") for number in range(2 * MOST_IN_ALL // MOST_AHEAD)]
    before = len(os.listdir("/proc/self/fd"))
    with ExitStack() as stack:
        transfers = [stack.enter_context(closing(Transfer("c", "e", log.path, ""))) for log in logs]
        for number in range(MOST_AHEAD):
            for log, transfer in zip(logs, transfers, strict=True):
                log.rotate()
                log.write(f"{number}\n", number + 1)
                transfer.collect(4096)
        assert len(os.listdir("/proc/self/fd")) - before <= MOST_IN_ALL + 2 * len(logs)
        for transfer in transfers:
            assert b"".join(item.data for item in _moved(transfer)).endswith(b"\n%d\n" % (MOST_AHEAD - 1))


def test_a_new_reader_whose_place_was_rotated_away_goes_on_with_the_oldest_line_left(log: LogWriter) -> None:
    with closing(LogFile(log.path, Position())) as old:
        log.write("gone\n", 1)
        old.read(1000)
    for number in range(2, 8):
        log.write(f"{number}\n", number)
        log.rotate()
    with closing(LogFile(log.path, Position(_stamp(1), 1))) as new:
        assert [entry.data for entry in new.read(1000)] == [b"6\n"]
        assert new.gap


@pytest.mark.parametrize("half_way", [False, True])
def test_a_rotation_while_the_files_are_opened_neither_doubles_nor_loses_anything(
    log: LogWriter, monkeypatch: pytest.MonkeyPatch, half_way: bool
) -> None:
    """Half-way, the newest file still has its name while the one before it has got its next one already."""
    really_open = os.open
    first, second = (log.path.with_name(f"{log.path.name}.{number}") for number in (1, 2))
    steps = iter([lambda: first.rename(second), lambda: log.path.rename(first)] if half_way else [log.rotate])

    def open_and_rotate(path: Path, flags: int, *mode: int) -> int:
        fd = really_open(path, flags, *mode)
        if path == log.path and not flags & os.O_CREAT:
            for step in islice(steps, 1):
                step()
        return fd

    with closing(Transfer("c", "e", log.path, "")) as transfer:
        log.write("1\n", 1)
        _moved(transfer)
        log.rotate()
        log.write("2\n", 2)
        monkeypatch.setattr("os.open", open_and_rotate)
        moved = _moved(transfer)
        assert not list(steps)
        log.write("3\n", 3)
        assert _told(moved + _moved(transfer)) == ["2\n", "3\n"]


def test_an_engine_that_died_while_it_rotated_holds_up_no_reader(log: LogWriter) -> None:
    log.write("1\n", 1)
    log.path.rename(log.path.with_name(f"{log.path.name}.2"))
    log.write("2\n", 2)
    assert _all(log.path) == b"1\n2\n"


def test_what_a_crash_garbled_is_passed_over(log: LogWriter) -> None:
    log.write("before\n", 1)
    with log.path.open("ab") as file:
        file.write(b"\0\0\0\0\0\n" + b'{"log":"cut of\n' + b"[]\n")
    log.write("after\n", 2)
    assert _all(log.path) == b"before\nafter\n"


def test_a_container_cannot_forge_the_place_of_a_reader(log: LogWriter) -> None:
    log.write("real\n", 5)
    log.write(f'","stream":"stdout","time":"{_stamp(5)}"}}\n', 6)
    assert _all(log.path, str(Position(_stamp(5), 1))) == f'","stream":"stdout","time":"{_stamp(5)}"}}\n'.encode()


def test_a_truncated_log_is_read_from_its_new_beginning(log: LogWriter) -> None:
    with closing(Transfer("c", "e", log.path, "")) as transfer:
        log.write("long enough to be noticed\n", 1)
        _moved(transfer)
        log.path.write_bytes(b"")
        log.write("new\n", 2)
        assert _told(_moved(transfer)) == [lost_notice(_stamp(1), _stamp(2)), "new\n"]


@given(
    lines=st.lists(st.tuples(st.integers(0, 2), st.text("ab\r\u00fc", max_size=5), st.booleans()), max_size=40),
    rotations=st.sets(st.integers(0, 40), max_size=2),
)
def test_from_every_place_on_exactly_the_rest_is_read(lines: list[tuple[int, str, bool]], rotations: set[int]) -> None:
    """Several entries may have one stamp, whole lines and parts alike, and a rotation may come between them."""
    with TemporaryDirectory() as folder:
        log = LogWriter(Path(folder) / "x-json.log")
        stamp, finished = 1, True
        for number, (step, text, ends) in enumerate(lines):
            if number in rotations:
                log.rotate()
            stamp += step if finished else 0
            finished = ends
            log.write(text + ("\n" if ends else ""), stamp)
        with closing(Transfer("c", "e", log.path, "")) as transfer:
            every = []
            while batch := transfer.collect(64):
                every += batch
                transfer.settle(batch[-1].after)
        whole = b"".join(item.data for item in every)
        for index, item in enumerate(every):
            done = b"".join(one.data for one in every[: index + 1])
            assert done + _all(log.path, item.after) == whole


def test_a_position_survives_being_written_down() -> None:
    for position in (Position(), Position(_stamp(1), 3), Position(_stamp(120), 1, inside=True)):
        assert read_position(str(position)) == position
    assert nanoseconds("1970-01-01T00:00:01.5Z") == 1_500_000_000
    assert nanoseconds("1970-01-01T00:00:01Z") == 1_000_000_000
