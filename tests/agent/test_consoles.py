"""Consoles followed by a real agent, from real containers into a real store."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.images import Image

from fleet.console import lost_notice
from fleet.lifecycle import Action, State
from fleet.store import Client
from tests.agent.bench import Bench, new_settings
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


@pytest.fixture
def brief(
    engine: docker.DockerClient, busybox_image: Image, store: Client, store_url: str, tmp_path: Path
) -> Iterator[Bench]:
    """A host whose engine keeps three times 1 MB of each container's log, with a container that waits to flood it."""
    made = Bench(engine, new_settings(tmp_path / "data", store_url, log_mb=1))
    try:
        made.runtime.ensure_network(made.settings.network)
        made.install("flood", "seq 1 100; until [ -e /tmp/go ]; do usleep 50000; done; seq 101 60000; sleep 600")
        made.start_agent()
        made.await_agent()
        made.do("flood", Action.START)
        eventually(lambda: made.output("flood") == _numbers(1, 100), within_seconds=10, what="the first lines")
        yield made
    finally:
        made.close()
        print(made.log_text())


def _logged(bench: Bench, name: str) -> list[tuple[str, int]]:
    """The numbers that the engine has in a container's log now, each with its stamp."""
    text = bench.engine.containers.get(bench.engine_name(name)).logs(timestamps=True).decode()
    words = [line.split() for line in text.splitlines()]
    return [(f"{stamp.rstrip('Z').rstrip('0')}Z", int(number)) for stamp, number in words]


def _flood(bench: Bench) -> list[tuple[str, int]]:
    """Have it print more than its log keeps; what the log has of it then."""
    bench.engine.containers.get(bench.engine_name("flood")).exec_run(["touch", "/tmp/go"])
    eventually(lambda: _logged(bench, "flood")[-1][1] == 60_000, within_seconds=20, what="the end of the flood")
    left = _logged(bench, "flood")
    assert left[0][1] > 101
    return left


def _told(bench: Bench) -> list[str]:
    """What its console says to be missing, once it has come to its end."""
    eventually(lambda: bench.output("flood").endswith(b"\n60000\n"), within_seconds=20, what="what is left")
    return [output.notice for output in bench.console.since(bench.id_of("flood"), 0) if output.notice]


def test_what_the_log_lost_while_the_agent_was_dead_is_named_by_the_lines_around_it(brief: Bench) -> None:
    """The span is the engine's own: the stamps of the last line that was read and of the first one that is left."""
    last_read = _logged(brief, "flood")[-1]
    brief.kill_agent()
    left = _flood(brief)
    brief.start_agent()
    brief.await_agent()
    assert _told(brief) == [lost_notice(last_read[0], left[0][0])]
    assert brief.output("flood") == _numbers(1, 100) + _numbers(left[0][1], 60_000)


def test_what_the_log_lost_while_the_agent_stood_still_is_named_too(brief: Bench) -> None:
    """The agent still has the file that it was reading, which ends where nobody can look any more."""
    assert brief.agent
    brief.agent.send_signal(signal.SIGSTOP)
    left = _flood(brief)
    brief.agent.send_signal(signal.SIGCONT)
    (told,) = _told(brief)
    assert told.startswith("Console output printed after ")
    assert told.endswith(lost_notice("x", left[0][0]).partition(" and ")[2])
    output = brief.output("flood")
    rest = _numbers(left[0][1], 60_000)
    assert output.endswith(rest)
    read = output.removesuffix(rest)
    assert read == _numbers(1, read.count(b"\n"))
    assert 100 <= read.count(b"\n") < left[0][1] - 1


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
