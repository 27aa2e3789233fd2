"""Following logs: nothing that is added is missed, from the last lines on."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from scripts.logs import follow


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of three lines, the last of which is not whole yet."""
    path = tmp_path / "api.log"
    path.write_text("one\ntwo\nthr")
    return path


def add(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


@pytest.mark.parametrize(("count", "last"), [(0, []), (1, ["two"]), (9, ["one", "two"])])
def test_what_is_added_follows_the_last_lines_at_once(log: Path, count: int, last: list[str]) -> None:
    with closing(follow(log, count)) as portions:
        assert next(portions) == last
        add(log, "ee\nfour\n")
        assert next(portions) == ["three", "four"]
        assert next(portions) == []


def test_it_goes_on_in_the_next_file_after_a_rotation(log: Path) -> None:
    with closing(follow(log, 1)) as portions:
        next(portions)
        add(log, "ee\n")
        log.rename(log.with_suffix(".1"))
        log.write_text("new\n")
        assert [next(portions), next(portions)] == [["three"], ["new"]]
