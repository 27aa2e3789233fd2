"""A whole Docker engine that goes away and comes back, under a running agent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.images import Image

from fleet.lifecycle import Action, State
from fleet.store import Client
from tests.agent.bench import Bench, new_settings
from tests.agent.own_engine import OwnEngine
from tests.support.deadline import eventually

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_SCRIPT = 'echo up; while read -r line; do echo "got $line"; done'


@pytest.fixture(scope="module")
def second(
    engine: docker.DockerClient, busybox_image: Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OwnEngine]:
    made = OwnEngine(tmp_path_factory.mktemp("engine") / "d")
    try:
        made.start()
        made.take_busybox(engine)
        yield made
    finally:
        made.close()


@pytest.fixture
def bench(second: OwnEngine, store: Client, store_url: str, tmp_path: Path) -> Iterator[Bench]:
    """A host on the second engine, with an agent at work."""
    with contextlib.closing(second.client()) as client:
        made = Bench(client, new_settings(tmp_path, store_url, engine=second.address))
        try:
            made.runtime.ensure_network(made.settings.network)
            made.start_agent(LIGHTD_ENGINE=second.address)
            made.await_agent()
            yield made
        finally:
            made.close()
            print(made.log_text())


_POLICIES = {"always": "always", "crashed": "on-crash", "never": "no", "stopped": "always"}


def await_another_run(bench: Bench, name: str, first: str | None) -> None:
    eventually(lambda: bench.record(name).run != first, within_seconds=60, what=f"another run of {name}")
    bench.await_state(name, State.RUNNING, within_seconds=60)


def test_an_engines_restart_is_followed_by_the_starts_that_the_policies_ask_for(
    bench: Bench, second: OwnEngine
) -> None:
    for name, policy in _POLICIES.items():
        bench.install(name, "echo up; sleep 600", restart_policy=policy, start_pattern="up")
        bench.do(name, Action.START)
        bench.await_state(name, State.RUNNING, within_seconds=60)
    first = {name: bench.record(name).run for name in _POLICIES}
    assert bench.await_end(bench.do("stopped", Action.STOP), within_seconds=60).state == "done"
    bench.work()
    second.stop()
    second.start()
    for name in ("always", "crashed"):
        await_another_run(bench, name, first[name])
    for name in ("never", "stopped"):
        assert bench.await_state(name, State.READY, within_seconds=60).restart_at is None


def test_states_consoles_and_input_are_right_again_after_an_engines_restart(bench: Bench, second: OwnEngine) -> None:
    bench.install("server", _SCRIPT, start_pattern="up")
    bench.do("server", Action.START)
    bench.await_state("server", State.RUNNING)
    assert bench.send("server", "one\n") is None
    second.stop()
    second.start()
    bench.await_state("server", State.READY, within_seconds=60)
    bench.do("server", Action.START)
    bench.await_state("server", State.RUNNING, within_seconds=60)
    assert bench.send("server", "two\n") is None
    expected = b"up\ngot one\nup\ngot two\n"
    eventually(lambda: bench.output("server") == expected, within_seconds=60, what="the output of both runs")
    job = bench.begin("server", Action.KILL, queue="agent")
    assert bench.await_end(job, within_seconds=60).state == "done"
