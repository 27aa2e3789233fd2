"""Containers that print faster than their console takes: what is left out is counted, to the line."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import redis

from fleet.console import Append, Console, Output, lost_notice
from fleet.store import Client
from tests.agent.test_reading_logs import LogWriter
from worker.console.throttle import Throttle
from worker.console.transfer import Transfer

RATE = 100


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def console(store: Client, store_url: str) -> Console:
    return Console(redis.Redis.from_url(store_url))


@pytest.fixture
def log(tmp_path: Path) -> LogWriter:
    return LogWriter(tmp_path / "x-json.log")


def test_five_seconds_worth_pass_at_once_and_then_nothing() -> None:
    throttle = Throttle(RATE, Clock())
    assert [throttle.admits(b"line\n") for _ in range(501)] == [True] * 500 + [False]


def test_a_shut_throttle_opens_again_for_a_second_at_a_time() -> None:
    clock = Clock()
    throttle = Throttle(RATE, clock)
    while throttle.admits(b"line\n"):
        pass
    clock.now += 0.9
    assert throttle.is_shut
    clock.now += 0.2
    assert not throttle.is_shut
    assert 100 <= sum(throttle.admits(b"line\n") for _ in range(500)) <= 111


def test_long_lines_and_output_without_lines_count_by_their_bytes() -> None:
    throttle = Throttle(RATE, Clock())
    assert [throttle.admits(b"x" * 400_000), throttle.admits(b"x" * 99_001), throttle.admits(b"x")] == [
        True,
        True,
        False,
    ]


def test_a_rate_of_0_lets_everything_pass() -> None:
    throttle = Throttle(0, Clock())
    assert all(throttle.admits(b"line\n" * 10_000) for _ in range(100))


def _shown(console: Console) -> list[Output]:
    return list(console.since("c", 0))


def _pass_on(console: Console, transfer: Transfer, *, ended: bool = False) -> None:
    while batch := transfer.collect(4096, ended=ended):
        transfer.settle(console.append(batch)[-1][1])


def test_what_was_printed_is_shown_or_counted(console: Console, log: LogWriter) -> None:
    for number in range(3000):
        log.write(f"{number}\n", number)
    with closing(Transfer("c", "e", log.path, "", RATE)) as transfer:
        _pass_on(console, transfer, ended=True)
        assert not transfer.owes_notice
    shown = _shown(console)
    lines = [line for output in shown for line in output.data.splitlines()]
    assert len(lines) >= 500
    assert len(lines) + sum(output.left_out for output in shown) == 3000
    assert shown[-1].left_out, "the last thing told is how many lines are missing"
    assert [output.seq for output in shown] == list(range(shown[0].seq, shown[0].seq + len(shown)))
    assert "lines were left out" in console.tail("c", 1)


def test_a_long_line_that_is_cut_ends_where_it_is_cut(
    console: Console, log: LogWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.console.transfer.Throttle", lambda rate: Throttle(rate, Clock()))
    for _ in range(40):  # 32 KiB make a message, and five seconds' worth of lines are 500,000 bytes
        log.write("x" * 16384, 1)
    log.write("\n", 1)
    log.write("left out\n", 2)
    with closing(Transfer("c", "e", log.path, "", RATE)) as transfer:
        _pass_on(console, transfer, ended=True)
    shown = _shown(console)
    assert "".join(output.data for output in shown) == "x" * 16 * 32768 + "\n"
    assert [output.left_out for output in shown if output.left_out] == [2]


def test_the_count_outlives_its_reader_at_any_point(console: Console, log: LogWriter) -> None:
    for number in range(3000):
        log.write(f"{number}\n", number)
    told, position = False, ""
    while not told:
        with closing(Transfer("c", "e", log.path, position, RATE)) as transfer:
            batch = transfer.collect(4096, ended=True)
            for item in batch[: len(batch) // 2 + 1]:  # and then its reader dies
                console.append([item])
            position = console.position("c", "e")
            told = not any(item.data for item in batch)
    shown = _shown(console)
    lines = sum(len(output.data.splitlines()) for output in shown)
    assert lines + sum(output.left_out for output in shown) == 3000


def test_a_notice_stands_before_what_follows_it(console: Console) -> None:
    console.append(
        [
            Append("c", "e", "", "p1", b"shown\n"),
            Append("c", "e", "p1", "p2", b"a\nb\n", left_out=True),
            Append("c", "e", "p2", "p3", b"c\n", left_out=True),
            Append("c", "e", "p3", "p4", b"again\n"),
        ]
    )
    assert [(output.data, output.left_out) for output in _shown(console)] == [("shown\n", 0), ("", 3), ("again\n", 0)]


@pytest.mark.parametrize("left_out", [False, True])
def test_what_is_lost_is_told_once_before_what_comes_after_it(console: Console, left_out: bool) -> None:
    lost = lost_notice("a", "b")
    after_loss = Append("c", "e", "p2", "p3", b"after\n", left_out, lost)
    console.append([Append("c", "e", "", "p1", b"shown\n"), Append("c", "e", "p1", "p2", b"x\n", left_out=True)])
    console.append([after_loss])
    console.append([after_loss, Append("c", "e", "p3", "p3", b"")])
    told = ["shown\n", "1 lines were", lost, "1 lines were" if left_out else "after\n"]
    assert [
        output.data or output.notice[: len(text)] for output, text in zip(_shown(console), told, strict=True)
    ] == told


def test_asking_for_a_notice_that_nobody_needs_adds_nothing(console: Console) -> None:
    console.append([Append("c", "e", "", "p1", b"shown\n"), Append("c", "e", "p1", "p1", b"")])
    assert len(_shown(console)) == 1
