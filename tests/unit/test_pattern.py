"""Start patterns are linear-time regular expressions, and bad ones are explained."""

from __future__ import annotations

import pytest

from fleet.errors import PatternInvalid
from fleet.pattern import check_pattern, compile_pattern, plain_text


def test_a_pattern_is_found_anywhere_in_a_line() -> None:
    assert compile_pattern(r"R.ady \d+").search(b"[12:00] Ready 42!")


@pytest.mark.parametrize("pattern", ["a(b", "[z-a]", "(?=x)", "(a)\\1", "x{5000}", "a" * 2000, "*"])
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str) -> None:
    with pytest.raises(PatternInvalid):
        check_pattern(pattern)


def test_the_position_of_a_mistake_is_named() -> None:
    with pytest.raises(PatternInvalid, match="position 3"):
        check_pattern("abc(de")


def test_a_bad_pattern_is_not_compiled_by_python_which_takes_seconds_for_some(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    with monkeypatch.context() as patched, pytest.raises(PatternInvalid):
        patched.setattr("re.compile", compiled.append)
        check_pattern("(?i)" + "[\x01-\U0010ffff]" * 190 + "(?=x)")
    assert compiled == []


def test_a_pattern_made_to_backtrack_is_harmless() -> None:
    assert compile_pattern("(a+)+$").search(b"a" * 50_000 + b"!") is None


def test_terminal_escapes_do_not_hide_text_from_a_pattern() -> None:
    assert plain_text(b"\x1b[1;32mRe\x1b[0mady\x1b]0;title\x07!") == b"Ready!"
