"""Output is appended exactly once, numbered, and kept as far as its limit reaches."""

from __future__ import annotations

import pytest
import redis

from fleet.console import Append, Console
from fleet.keys import key
from fleet.store import Client


@pytest.fixture
def console(store: Client, store_url: str) -> Console:
    return Console(redis.Redis.from_url(store_url), history_kb=1)


def test_a_repeated_append_adds_nothing(console: Console) -> None:
    piece = Append("a", "e1", "", "p1", b"hello\nworld\n")
    (first,) = console.append([piece])
    assert first[0] is not None
    assert console.append([piece]) == [(None, "p1")]
    assert [output.data for output in console.since("a", 0)] == ["hello\nworld\n"]


def test_a_replaced_reader_adds_nothing_and_learns_the_position(console: Console) -> None:
    console.append([Append("a", "e1", "", "p1", b"1\n"), Append("a", "e1", "p1", "p2", b"2\n")])
    assert console.append([Append("a", "e1", "p1", "p9", b"other\n")]) == [(None, "p2")]
    assert console.tail("a", 10) == "1\n2\n"


def test_numbers_rise_by_one_and_outlive_the_history(console: Console) -> None:
    position = ""
    for number in range(50):
        console.append([Append("a", "e1", position, f"p{number}", b"x" * 99 + b"\n")])
        position = f"p{number}"
    kept = [output.seq for output in console.since("a", 0)]
    assert kept == list(range(kept[0], kept[0] + 10))
    assert console.reach("a") == (kept[0], kept[-1])
    assert [output.seq for output in console.since("a", kept[4])] == kept[5:]


def test_a_history_that_a_full_store_dropped_takes_up_nothing_of_the_next(console: Console, store: Client) -> None:
    line = b"x" * 99 + b"\n"
    console.append([Append("a", "e1", str(number or ""), str(number + 1), line) for number in range(10)])
    store.delete(key("console", "a"))
    console.append([Append("a", "e1", str(number), str(number + 1), line) for number in range(10, 15)])
    oldest, newest = console.reach("a")
    assert newest - oldest == 4
    assert console.tail("a", 100).count("x\n") == 5


def test_the_tail_counts_lines_not_messages(console: Console) -> None:
    console.append([Append("a", "e1", "", "p1", b"1\n2\n3\n"), Append("a", "e1", "p1", "p2", b"4\n")])
    assert console.tail("a", 2) == "3\n4\n"
    assert console.tail("a", 0) == ""
    assert console.tail("b", 5) == ""


def test_the_tail_puts_a_line_together_that_came_in_pieces(console: Console) -> None:
    pieces = [b"first\nsec", b"o", b"nd\nthi", b"rd"]
    console.append([Append("a", "e1", str(at or ""), str(at + 1), data) for at, data in enumerate(pieces)])
    assert console.tail("a", 3) == "first\nsecond\nthird"
    assert console.tail("a", 2) == "second\nthird"
    assert console.tail("a", 1) == "third"


def test_only_the_first_message_of_a_console_begins_it(console: Console) -> None:
    console.append([Append("a", "e1", "", "p1", b"1\n"), Append("a", "e1", "p1", "p2", b"2\n")])
    console.append([Append("a", "e2", "", "p1", b"3\n")])
    console.append([Append("b", "e3", "", "p1", b"late\n", lost="gone")])
    console.append([Append("c", "e4", "p1", "p2", b"of a store that was emptied\n")])
    begins = [[output.begins for output in console.since(name, 0)] for name in "abc"]
    assert begins == [[True, False, False], [True, False], [False]]


def test_a_forgotten_console_is_gone(console: Console) -> None:
    console.append([Append("a", "e1", "", "p1", b"1\n")])
    console.forget("a", "e1")
    assert console.reach("a") == (0, 0)


def test_the_next_container_of_a_name_sees_nothing_of_the_deleted_one(console: Console) -> None:
    console.append([Append("a", "e1", "", "p1", b"1\n")])
    console.forget("a", "e1")
    assert console.append([Append("a", "e1", "p1", "p2", b"late\n")]) == [(None, "p2")]
    console.append([Append("a", "e2", "", "p1", b"new\n")])
    assert console.tail("a", 10) == "new\n"
