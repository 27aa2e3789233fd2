"""One agent follows the consoles of three hundred running containers, and is killed while all of them print."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from docker.models.images import Image

from fleet.lifecycle import Action
from fleet.models import Limits
from tests.agent.bench import Bench, new_settings
from tests.support.deadline import eventually
from tests.support.own_store import OwnStore

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(880)]

CONTAINERS = 300
ROUNDS, LINES_A_ROUND = 15, 40
LINES = ROUNDS * LINES_A_ROUND
PRINTING = f"""until [ -e go ]; do sleep 2; done
n=1; while [ $n -le {LINES} ]; do seq $n $((n+{LINES_A_ROUND - 1})); n=$((n+{LINES_A_ROUND})); sleep 2; done
sleep 3600"""
LIMITS = Limits(16 << 20, 0.25, 16)
_AT_ONCE = 4


@pytest.fixture
def bench(engine: docker.DockerClient, busybox_image: Image, tmp_path: Path) -> Iterator[Bench]:
    """A host with a store of its own and an agent at work."""
    store = OwnStore(tmp_path / "store")
    store.start()
    made = Bench(engine, new_settings(tmp_path / "data", store.url))
    try:
        made.runtime.ensure_network(made.settings.network)
        made.start_agent()
        made.await_agent()
        yield made
    finally:
        _remove(engine, made.node)
        made.close()
        store.stop()
        print(made.log_text()[-5000:])


def test_all_lines_of_three_hundred_containers_come_once_though_the_agent_is_killed(bench: Bench) -> None:
    names = [f"c{number}" for number in range(CONTAINERS)]

    def begin(name: str) -> Path:
        record = bench.install(name, PRINTING, limits=LIMITS)
        bench.do(name, Action.START)
        return bench.settings.data / "volumes" / record.volume_id / "go"

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        signs = list(pool.map(begin, names))
    began, busy = time.monotonic(), _busy_seconds(bench)
    for sign in signs:
        sign.touch()
    _await_some(bench, names, LINES_A_ROUND * 3)
    share = (_busy_seconds(bench) - busy) / (time.monotonic() - began)
    print(f"the agent took {share:.0%} of a core while {CONTAINERS} containers printed")
    bench.kill_agent()
    bench.start_agent()
    _await_some(bench, names, LINES_A_ROUND * 8)
    bench.kill_agent()
    bench.start_agent()
    _await_some(bench, names, LINES)
    expected = "".join(f"{number}\n" for number in range(1, LINES + 1)).encode()
    assert [name for name in names if bench.output(name) != expected] == []


def _await_some(bench: Bench, names: list[str], lines: int) -> None:
    """Until all consoles have so many lines."""
    for container_id in map(bench.id_of, names):
        eventually(
            lambda of=container_id: bench.console.tail(of, lines).count("\n") >= lines,  # type: ignore[misc]
            within_seconds=60,
            what=f"{lines} lines of {container_id}",
        )


def _busy_seconds(bench: Bench) -> float:
    """Processor time that the agent has taken so far."""
    assert bench.agent
    fields = Path(f"/proc/{bench.agent.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _remove(engine: docker.DockerClient, node: str) -> None:
    """Remove the containers, several at once."""
    found = engine.containers.list(all=True, filters={"label": f"lightd.node={node}"}, ignore_removed=True)

    def remove(container: Container) -> None:
        with closing(docker.DockerClient()) as client:  # one for each thread: it is not made for several
            client.api.remove_container(container.id, force=True)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(remove, found))
