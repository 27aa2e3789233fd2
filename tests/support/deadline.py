"""Waiting for something to become true, with a limit, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 4
"""How much longer than named a deadline lasts: it tells a hang from work, and a busy machine is no hang."""

_POLL_SECONDS = 0.02


def eventually(look: Callable[[], T], *, within_seconds: float, what: str) -> T:
    """The first true answer of `look`; fails the test, saying `what` was awaited, when none comes in time."""
    deadline = time.monotonic() + within_seconds * PATIENCE
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {within_seconds * PATIENCE:g} s; last seen: {answer!r}")
        time.sleep(_POLL_SECONDS)
