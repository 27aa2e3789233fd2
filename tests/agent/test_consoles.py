"""Consoles followed by a real agent, from real containers into a real store."""

from __future__ import annotations

import pytest

from fleet.lifecycle import Action, State
from tests.agent.bench import Bench
from tests.agent.listener import Listener
from tests.support.deadline import eventually

pytestmark = pytest.mark.engine

_LINES = 250_000
"""19 MB of log: less than the engine keeps, so an agent that was away for all of it still finds everything."""


def _numbers(first: int, last: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(first, last + 1))


def test_a_line_printed_by_a_container_is_on_its_console(bench: Bench) -> None:
    bench.install("one", "echo hello; sleep 60")
    bench.start_agent()
    bench.await_agent()
    bench.do("one", Action.START)
    eventually(lambda: bench.output("one") == b"hello\n", within_seconds=5, what="the line")


def test_every_line_comes_once_though_the_agent_is_killed_again_and_again(bench: Bench) -> None:
    bench.install("flood", f"seq 1 {_LINES}")
    bench.start_agent()
    bench.await_agent()
    with Listener(bench.settings.stream_address, bench.id_of("flood")) as listener:
        bench.do("flood", Action.START)
        for _ in range(4):
            size = listener.size()
            eventually(lambda: listener.size() > size, within_seconds=10, what="more output")  # noqa: B023
            bench.kill_agent()
            bench.start_agent()
        expected = _numbers(1, _LINES)
        eventually(lambda: listener.size() >= len(expected), within_seconds=60, what="all output")
        bench.await_state("flood", State.READY)
        assert listener.output() == expected
    seqs = [seq for _, seq, _ in listener.heard]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
