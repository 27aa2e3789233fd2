"""A real container that prints faster than its console takes, and an agent that is killed meanwhile."""

from __future__ import annotations

import pytest

from fleet.lifecycle import Action, State
from tests.agent.bench import Bench
from tests.support.deadline import eventually

pytestmark = pytest.mark.engine

ROUNDS = 60
LINES = ROUNDS * 1000
PRINTING = f"n=0; while [ $n -lt {LINES} ]; do seq $((n+1)) $((n+1000)); n=$((n+1000)); usleep 50000; done"
"""About 15,000 lines a second for four seconds."""


def test_what_is_left_out_is_counted_to_the_line_where_it_is_missing(bench: Bench) -> None:
    bench.install("flood", PRINTING)
    bench.start_agent(LIGHTD_CONSOLE_LINES_PER_SECOND="1000")
    bench.await_agent()
    bench.do("flood", Action.START)
    for passed in (LINES // 3, 2 * LINES // 3):
        eventually(lambda: _accounted(bench) >= passed, within_seconds=20, what=f"{passed} lines")  # noqa: B023
        bench.kill_agent()
        bench.start_agent(LIGHTD_CONSOLE_LINES_PER_SECOND="1000")
    bench.await_state("flood", State.READY, within_seconds=30)
    eventually(lambda: _accounted(bench) == LINES, within_seconds=20, what="the last notice")


def _accounted(bench: Bench) -> int:
    """How many lines were shown or counted; each that is shown has the number that follows from those before it."""
    number = left_out = 0
    for output in bench.console.since(bench.id_of("flood"), 0):
        number += output.left_out
        left_out += output.left_out
        for line in output.data.splitlines():
            number += 1
            assert line == str(number)
    assert left_out or number < LINES
    return number
