"""Stores and engine connections that go away and come back, under a running agent."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.images import Image

from fleet.lifecycle import Action, State
from tests.agent.bench import Bench, new_settings
from tests.agent.listener import Listener
from tests.support.deadline import PATIENCE, eventually
from tests.support.own_store import OwnStore
from tests.support.way import Way

pytestmark = pytest.mark.engine


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[OwnStore, OwnStore]]:
    """A record store that keeps everything on disk, and a stream store that keeps nothing."""
    record, stream = OwnStore(tmp_path / "record", durable=True), OwnStore(tmp_path / "stream")
    record.start()
    stream.start()
    yield record, stream
    record.stop()
    stream.stop()


@pytest.fixture
def bench(
    engine: docker.DockerClient, busybox_image: Image, stores: tuple[OwnStore, OwnStore], tmp_path: Path
) -> Iterator[Bench]:
    """A host with stores of its own and an agent at work."""
    record, stream = stores
    made = Bench(engine, new_settings(tmp_path / "data", record.url, stream_url=stream.url))
    try:
        made.runtime.ensure_network(made.settings.network)
        made.start_agent()
        made.await_agent()
        yield made
    finally:
        made.close()
        print(made.log_text())


def test_no_line_is_lost_while_the_stream_store_is_frozen(bench: Bench, stores: tuple[OwnStore, OwnStore]) -> None:
    bench.install("talker", "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; done; sleep 60")
    with Listener(bench.settings.stream_address, bench.id_of("talker")) as listener:
        stores[1].signal(signal.SIGSTOP)
        bench.do("talker", Action.START)
        eventually(lambda: "stream store" in bench.log_text(), within_seconds=15, what="the outage")
        stores[1].signal(signal.SIGCONT)
        expected = "".join(f"{number}\n" for number in range(1, 3001)).encode()
        eventually(lambda: listener.output() == expected, within_seconds=10, what="every line once")
    assert bench.log_text().count("stream store: waiting") == 1


def test_an_emptied_stream_store_gets_what_is_new(bench: Bench, stores: tuple[OwnStore, OwnStore]) -> None:
    script = "echo before; until [ -e /tmp/go ]; do sleep 0.05; done; echo after; sleep 60"
    bench.install("talker", script)
    bench.do("talker", Action.START)
    eventually(lambda: bench.output("talker") == b"before\n", within_seconds=10, what="the first line")
    stores[1].stop()
    stores[1].start()
    bench.engine.containers.get(bench.engine_name("talker")).exec_run(["touch", "/tmp/go"])
    eventually(lambda: bench.output("talker").endswith(b"after\n"), within_seconds=10, what="the second line")


def test_what_ends_while_the_record_store_is_away_is_written_when_it_is_back(
    bench: Bench, stores: tuple[OwnStore, OwnStore]
) -> None:
    bench.install("victim", "sleep 60")
    bench.do("victim", Action.START)
    stores[0].stop()
    bench.engine.containers.get(bench.engine_name("victim")).kill()
    eventually(lambda: "waiting until" in bench.log_text(), within_seconds=10, what="the outage")
    stores[0].start()
    assert bench.await_state("victim", State.READY, within_seconds=10).exit_code == 137
    bench.await_agent()
    bench.do("victim", Action.START)
    job = bench.begin("victim", Action.KILL, queue="agent")
    assert bench.await_end(job, within_seconds=5).state == "done"


def test_a_lost_engine_connection_is_made_again_and_nothing_is_missed(bench: Bench) -> None:
    """The agent speaks to the engine through a socket that is cut and comes back."""
    bench.install("victim", "echo up; sleep 60")
    bench.kill_agent()
    with Way(bench.settings.engine.removeprefix("unix://"), bench.settings.data / "engine.sock") as way:
        bench.start_agent(LIGHTD_ENGINE=way.address)
        bench.await_agent()
        bench.do("victim", Action.START)
        way.cut()
        bench.engine.containers.get(bench.engine_name("victim")).kill()
        way.mend()
        assert bench.await_state("victim", State.READY, within_seconds=10).exit_code == 137
        bench.kill_agent()


def test_an_agent_ends_within_two_seconds_of_being_asked(bench: Bench, stores: tuple[OwnStore, OwnStore]) -> None:
    assert bench.stop_agent() < 2 * PATIENCE


def test_an_agent_ends_within_two_seconds_although_a_store_hangs(
    bench: Bench, stores: tuple[OwnStore, OwnStore]
) -> None:
    stores[0].signal(signal.SIGSTOP)
    try:
        assert bench.stop_agent() < 2 * PATIENCE
    finally:
        stores[0].signal(signal.SIGCONT)
